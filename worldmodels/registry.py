"""World models by name, as lazy strings: listing them imports none of them.

Other packages extend the table through the entry point group `telos.models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from envs.errors import TelosError

GROUP = "telos.models"


@dataclass(frozen=True)
class Entry:
    """One world model: a class with the interface of `worldmodels.model.WorldModel`."""

    target: str  # "module:Class"
    summary: str  # one line


BUILT_IN: Mapping[str, Entry] = {
    "simulator": Entry(
        "worldmodels.simulator:Simulator", "MuJoCo itself, batched on C threads; no doubt, needs the state"
    ),
}


@cache
def table() -> Mapping[str, Entry]:
    """All world models, ours and those of entry points. Raises TelosError where a name is taken twice."""
    entries = dict(BUILT_IN)
    for point in entry_points(group=GROUP):
        if point.name in entries:
            raise TelosError(f"entry point {GROUP}", f"{point.name} = {point.value}", "a name not taken yet")
        source = point.dist.name if point.dist else "an unknown distribution"
        entries[point.name] = Entry(point.value, f"from {source}")
    return entries


def load(name: str) -> type[Any]:
    """The world model's class. Raises TelosError for an unknown name."""
    entries = table()
    if name not in entries:
        raise TelosError.unknown("world_model.kind", name, entries)
    module, _, attribute = entries[name].target.partition(":")
    return getattr(import_module(module), attribute)
