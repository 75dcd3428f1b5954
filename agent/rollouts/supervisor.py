"""Watches the process that drives Ray, from outside it: Ray ends it where its own processes have died.

The command forks before anything heavy is imported. The child does all the work; the parent waits, hands signals on,
and when the child is gone says how, and ends what it left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)
LONGEST = 20  # characters of a temporary folder under which Ray's sockets have room: their paths hold 107
FAREWELL = 2.0  # s in which what the child has started may end by itself


def supervised(work: Callable[[], NoReturn], expected: frozenset[int], status: int) -> NoReturn:
    """Run `work` in a child and exit as it does.

    Args:
        work: ends its process.
        expected: the exit statuses that it has explained by itself.
        status: the exit status where it ends in another way, which is told on stderr.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(SET_CHILD_SUBREAPER, 1)  # what the child leaves behind becomes ours
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        libc.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os._exit(status)
        work()

    def hand_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both
    signal.signal(signal.SIGTERM, hand_on)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in expected:
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"was ended by Ray (status {code})"
        print(
            f"telos: the driving process {how}; memory may tell why; "
            "`telos resume DIR` finishes a run, a benchmark is called again",
            file=sys.stderr,
            flush=True,
        )
    _end_what_is_left()
    for folder in _temporary().glob(f"{_prefix(child)}*"):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(code if code in expected else status)


def ray_folder() -> Path:
    """A new folder for the files of a Ray that this process starts; its supervisor finds it by the process id."""
    return Path(tempfile.mkdtemp(prefix=_prefix(os.getpid()), dir=_temporary()))


def _prefix(pid: int) -> str:
    return f"telos-ray-{pid}-"


def _temporary() -> Path:
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= LONGEST else "/tmp")


def _end_what_is_left() -> None:
    """Kill what the child has left behind, after a moment; its own children become ours, and follow."""
    deadline = time.monotonic() + FAREWELL
    with contextlib.suppress(ChildProcessError):  # that there are none is for the kernel to say:
        while True:  # while a process ends thread by thread, /proc shows it as a zombie that its children still have
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    for pid in _children():
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)


def _children() -> list[int]:
    """Of this process."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == os.getpid():
                    found.append(int(entry.name))
    return found
