"""The logs of a run, made from the rows and steps in its directory.

Whenever a run begins or goes on, its logs are made anew from the episodes on disk, so that they hold each episode once,
whatever happened before. A log that is there goes on without being asked for. Episodes are logged in the order of their
index: one that finished early waits for those before it, because TensorBoard drops points that a smaller step follows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from agent.rollouts.row import Row
from agent.runs.logger import KINDS, Logger, load, scalars_of
from agent.runs.rundir import RunDir
from envs.errors import TelosError
from envs.files import refusal


def wanted(asked: str | None, path: Path | None = None) -> Mapping[str, type[Logger]]:
    """The logger that the user asked for, and those whose logs are in a run directory, by name.

    Raises:
        TelosError: the name is unknown, or a package that a logger needs is not installed.
    """
    found = {} if asked is None else {asked: load(asked)}
    if path is not None:
        there = {name: path / kind.place for name, kind in KINDS.items() if os.path.lexists(path / kind.place)}
        found |= {name: load(name, f", or the run without {place}") for name, place in there.items()}
    return MappingProxyType(found)


@contextmanager
def opened(
    rundir: RunDir, rows: Sequence[Row], kinds: Mapping[str, type[Logger]], tell: Callable[[str], None]
) -> Iterator[Callable[[Row], None]]:
    """Make the logs of a run anew, and yield a function that adds a finished episode to them.

    A log that cannot be written ends with a notice, because a run is worth more than its log.

    Args:
        rows: of the episodes that are finished.
        tell: called with notices for the user.
    """
    logs = _Logs(rundir, kinds, tell)
    try:
        logs.add(rows)
        yield lambda row: logs.add([row])
    finally:
        logs.close()


class _Logs:
    """The open logs of a run."""

    def __init__(self, rundir: RunDir, kinds: Mapping[str, type[Logger]], tell: Callable[[str], None]) -> None:
        self._rundir = rundir
        self._tell = tell
        self._waiting: dict[int, Row] = {}  # episode -> its row, to be logged after the episodes before it
        self._next = 0  # the first episode that is not logged
        self._loggers: dict[str, Logger] = {}
        for name, kind in kinds.items():
            with self._notice(name):
                self._loggers[name] = kind(rundir.path)

    def add(self, rows: Sequence[Row]) -> None:
        """Log these episodes, and those that waited for them, as far as all episodes before them are logged."""
        self._waiting |= {row.episode: row for row in rows}
        while self._next in self._waiting:
            self._log(self._waiting.pop(self._next))
            self._next += 1
        self._flush()

    def close(self) -> None:
        """Log also those that still wait, and close the logs."""
        try:
            for episode in sorted(self._waiting):
                self._log(self._waiting[episode])
            self._flush()
        finally:
            for logger in self._loggers.values():
                with suppress(OSError):
                    logger.close()

    def _log(self, row: Row) -> None:
        if not self._loggers:
            return
        with self._notice(*self._loggers):
            found = tuple(scalars_of(row, self._rundir.steps(row.episode)))
            for name, logger in tuple(self._loggers.items()):
                with self._notice(name):
                    for scalars in found:
                        logger.write(scalars)

    def _flush(self) -> None:
        for name, logger in tuple(self._loggers.items()):
            with self._notice(name):
                logger.flush()

    @contextmanager
    def _notice(self, *names: str) -> Iterator[None]:
        """Within this context, an error of the file system ends these logs with a notice."""
        try:
            yield
        except (OSError, TelosError) as error:
            said = refusal(self._rundir.path, error) if isinstance(error, OSError) else error
            for name in names:
                self._tell(f"no log: {said}; `telos resume {self._rundir.path} --logger {name}` makes it again")
                if (logger := self._loggers.pop(name, None)) is not None:
                    with suppress(OSError):
                        logger.close()
