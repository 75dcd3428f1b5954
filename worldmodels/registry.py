"""World models by name. Entries are strings that are imported on use, so listing them imports no world model.

Other packages extend the table through the entry point group `telos.models`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, get_args

from envs.errors import TelosError, nearest
from envs.requests import Request
from envs.table import Entry, Table
from envs.task import Interface, Task
from worldmodels.model import Source, WorldModel

PARTS = ("stride", "dt", "action_size", "starts_from", "signals", "spent", "imagine")


TABLE = Table(
    "world_model.kind",
    "telos.models",
    MappingProxyType(
        {
            "simulator": Entry(
                "worldmodels.simulator.simulator:Simulator",
                "MuJoCo itself, batched on C threads; no doubt, needs the state",
            ),
            "checkpoint": Entry("worldmodels.saved:saved", "a model that `telos train` trained; needs observations"),
        }
    ),
)
"""Name -> a class that implements `worldmodels.model.WorldModel`."""


def make(
    name: str,
    task: Task,
    interface: Interface,
    requests: Iterable[Request],
    threads: int | None,
    params: Mapping[str, Any],
) -> WorldModel:
    """Build the world model of that name, as `worldmodels.model.WorldModel` describes.

    Args:
        task: the task to imagine.
        interface: how the agent is coupled to the task's environment.
        requests: signals that costs and guardrails read.
        threads: CPU threads that it may use; all CPUs of this process where None.
        params: the model's own.

    Raises:
        TelosError: an unknown name, parameters that are not the model's own, or a class that is no world model.
    """
    model = TABLE.load(name)
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
    insist_whole(made, f"{name!r}, at {TABLE.entries()[name].target}")
    return made


def insist_whole(model: object, name: str = "") -> None:
    """Raises TelosError where something lacks a part of a world model, or starts from what no belief has."""
    missing = [part for part in PARTS if not hasattr(model, part)]
    if missing:
        said = f"{name or type(model).__name__}: without {', '.join(missing)}"
        raise TelosError("world_model.kind", said, "a class as `worldmodels.model.WorldModel` says")
    source = getattr(model, "starts_from", None)
    if source not in get_args(Source):
        raise TelosError("world_model.starts_from", repr(source), get_args(Source), nearest(source, get_args(Source)))
