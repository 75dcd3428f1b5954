"""`Logger`: writes the numbers of a run's episodes for other programs to read. It never decides anything.

A log is no part of the configuration, because it must not change the digests or the rows of a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from agent.rollouts.row import Row, Steps
from envs.errors import TelosError


@dataclass(frozen=True)
class Scalars:
    """The numbers of one episode, or of one control step of it."""

    episode: int  # index over all seeds of the run
    seed: int
    step: int | None  # control step of the episode, from 0; None for the episode as a whole
    values: Mapping[str, float]  # by name; truth values are 0 and 1


class Logger(Protocol):
    """Writes one log. A new log is written beside an older one, and takes its place at the first `flush`.

    Every method raises OSError or TelosError if the file system refuses.
    """

    def __init__(self, run: Path) -> None:
        """
        Args:
            run: the run directory.
        """
        ...

    def write(self, scalars: Scalars) -> None:
        """Add numbers. Episodes come in the order of their index, and the steps of an episode before the episode."""
        ...

    def flush(self) -> None:
        """Let readers see all that was written."""
        ...

    def close(self) -> None:
        """Close the files. What was not flushed may be lost."""
        ...


@dataclass(frozen=True)
class Kind:
    """A way to log."""

    target: str  # "module:class", a `Logger`; imported only if asked for
    place: str  # the file or folder of the log, in the run directory
    needs: str = ""  # what pip has to install; "" for nothing


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "jsonl": Kind("agent.runs.jsonl:JsonLines", "log.jsonl"),
        "tensorboard": Kind("agent.runs.tensorboard:TensorBoard", "tensorboard", "tensorboard>=2.21,<3"),
    }
)


_COLUMNS = ("reward", "violated", "plan_cost", "plan_feasible", "plan_ms", "decision_ms", "intervened", "fallback")
"""The fields of `Steps` that have one number for each step."""


def load(name: str, else_allowed: str = "") -> type[Logger]:
    """The logger of this name.

    Args:
        else_allowed: what the user can do besides installing a missing package.

    Raises:
        TelosError: the name is unknown, or a package that the logger needs is not installed.
    """
    if name not in KINDS:
        raise TelosError.unknown("--logger", name, KINDS)
    kind = KINDS[name]
    module, _, attribute = kind.target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        allowed = f"this after pip install '{kind.needs}'{else_allowed}"
        raise TelosError("--logger", f"{name!r}, which is not installed ({error})", allowed) from None


def scalars_of(row: Row, steps: Steps | None) -> Iterator[Scalars]:
    """The numbers of an episode: of each control step, if steps are kept, and then of its row."""
    if steps is not None:
        columns = {name: getattr(steps, name).tolist() for name in _COLUMNS}
        columns |= {f"margin.{name}": steps.margin[:, index].tolist() for index, name in enumerate(row.min_margin)}
        for step, values in enumerate(zip(*columns.values(), strict=True)):
            yield Scalars(row.episode, row.seed, step, dict(zip(columns, map(float, values), strict=True)))
    yield Scalars(row.episode, row.seed, None, row.numbers())
