"""World models by name, as lazy strings: listing them imports none of them.

Other packages extend the table through the entry point group `telos.models`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from envs.errors import TelosError, nearest
from envs.requests import Request
from envs.task import Interface, Task
from worldmodels.model import WorldModel

GROUP = "telos.models"
PARTS = ("stride", "dt", "action_size", "spent", "imagine")


@dataclass(frozen=True)
class Entry:
    """One world model: a class with the interface of `worldmodels.model.WorldModel`."""

    target: str  # "module:Class"
    summary: str  # one line


BUILT_IN: Mapping[str, Entry] = {
    "simulator": Entry(
        "worldmodels.simulator.simulator:Simulator", "MuJoCo itself, batched on C threads; no doubt, needs the state"
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
    """The world model's class. Raises TelosError for an unknown name, or one that leads nowhere."""
    entries = table()
    if name not in entries:
        raise TelosError.unknown("world_model.kind", name, entries)
    target = entries[name].target
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise TelosError("world_model.kind", f"{name!r}, at {target}: {error}", '"module:Class"') from error


def make(
    name: str,
    task: Task,
    interface: Interface,
    requests: Iterable[Request],
    threads: int | None,
    params: Mapping[str, Any],
) -> WorldModel:
    """The world model of that name, built as `worldmodels.model` says.

    Args:
        task: what to imagine.
        interface: how the agent is coupled to the task's environment.
        requests: signals that costs and guardrails ask for.
        threads: CPU threads it may use; all of this process where None.
        params: the model's own.

    Raises:
        TelosError: an unknown name, parameters that are not the model's own, or a class that is no world model.
    """
    model = load(name)
    given = {"threads": threads, **params}
    signature = inspect.signature(model)
    try:
        signature.bind(task, interface, requests, **given)
    except TypeError as error:
        own = [key for key in list(signature.parameters)[3:] if key != "threads"]
        strange = next((key for key in params if key not in own), None)
        said = str(error) if strange is None else repr(strange)
        raise TelosError("world_model.params", said, own, nearest(strange, own)) from None
    try:
        made = model(task, interface, requests, **given)
    except ValueError as error:
        raise TelosError("world_model.params", str(error), f"what {name!r} takes") from error
    missing = [part for part in PARTS if not hasattr(made, part)]
    if missing:
        said = f"{name!r}, at {table()[name].target}: without {', '.join(missing)}"
        raise TelosError("world_model.kind", said, "a class as `worldmodels.model.WorldModel` says")
    return made
