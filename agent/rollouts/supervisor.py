"""Supervises the process that drives Ray, because Ray ends that process when Ray's own processes have died.

The command forks before anything heavy is imported. The child does all the work. The parent passes SIGTERM on and
waits for the child to end. It then prints how the child ended, if the child could not, and kills the processes that
the child left behind.
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

SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # options of prctl(2)
LONGEST = 20  # characters of the temporary folder's path; Ray puts sockets in it, whose paths are limited to 107
FAREWELL = 2.0  # s that processes started by the child have to end by themselves


def supervised(work: Callable[[], NoReturn], expected: frozenset[int], status: int) -> NoReturn:
    """Run `work` in a child process and exit with its status.

    Args:
        work: ends its process.
        expected: the exit statuses for which `work` itself has printed a message if one is needed.
        status: the exit status if the child ends in any other way, which is reported on stderr.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(SET_CHILD_SUBREAPER, 1)  # processes that the child leaves behind become our children
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        libc.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the call of prctl
            os._exit(status)
        work()

    def hand_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends SIGINT to both processes
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
    """Make a folder for the files of a cluster that this process starts. The supervisor finds it by the process id."""
    return Path(tempfile.mkdtemp(prefix=_prefix(os.getpid()), dir=_temporary()))


def _prefix(pid: int) -> str:
    return f"telos-ray-{pid}-"


def _temporary() -> Path:
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= LONGEST else "/tmp")


def _end_what_is_left() -> None:
    """Kill the processes that the child left behind, after `FAREWELL` seconds.

    When one of them dies, its own children become ours, and are killed in turn.
    """
    deadline = time.monotonic() + FAREWELL
    # Wait until the kernel raises ChildProcessError. /proc cannot tell that no process is left: while the threads of a
    # process end one by one, /proc shows the process as a zombie that still has its children.
    with contextlib.suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    for pid in _children():
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)


def _children() -> list[int]:
    """The process ids of this process's children."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == os.getpid():
                    found.append(int(entry.name))
    return found
