"""A log for TensorBoard: the folder `tensorboard` of a run directory. Only this file uses the package tensorboard.

Curves `episode/NAME` have a point per episode, at its index. Curves `step/NAME` have a point per control step, at the
number of control steps of the run before it. TensorBoard keeps 32-bit floats.
"""

from __future__ import annotations

import time
from pathlib import Path

# These modules make their classes when they are imported, so the type checker does not see them.
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter

from agent.runs.logger import KINDS, Scalars


class TensorBoard:
    """See `agent.runs.logger.Logger`."""

    # Written with RecordWriter, because EventFileWriter writes in a thread, which prints a traceback if the disk is
    # full, and cannot write a file that appears when it is complete.

    def __init__(self, run: Path) -> None:
        self._folder = run / KINDS["tensorboard"].place
        self._folder.mkdir(exist_ok=True)
        self._scratch: Path | None = self._folder / ".events.part"
        self._file = self._scratch.open("wb")
        self._records = RecordWriter(self._file)
        self._steps = 0
        self._add(Event(file_version="brain.Event:2"))
        # A TensorBoard that is running drops what it read from the file that this one replaces.
        self._add(Event(step=0, session_log=SessionLog(status=SessionLog.START)))

    def write(self, scalars: Scalars) -> None:
        at, series = (scalars.episode, "episode") if scalars.step is None else (self._steps, "step")
        self._steps += scalars.step is not None
        values = [Summary.Value(tag=f"{series}/{name}", simple_value=value) for name, value in scalars.values.items()]
        self._add(Event(step=at, summary=Summary(value=values)))

    def flush(self) -> None:
        self._file.flush()
        if self._scratch is not None:
            # TensorBoard reads files in the order of their names.
            path = self._folder / f"events.out.tfevents.{time.time_ns() / 1e9:020.9f}.telos"
            self._scratch.replace(path)
            self._scratch = None
            for older in self._folder.glob("*tfevents*"):
                if older != path:
                    older.unlink()

    def close(self) -> None:
        self._file.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
