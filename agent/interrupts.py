"""Ctrl-C, once: finish the episodes that run, and stop. Twice: stop now."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console


@contextmanager
def interrupts(console: Console) -> Iterator[Callable[[], bool]]:
    """Within it, the first SIGINT is only noted: what it yields says so. The next one raises KeyboardInterrupt.

    Outside the main thread, where Python delivers no signals, it never says so.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        console.print("stopping when the running episodes are finished; Ctrl-C again to stop now", highlight=False)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not in the main thread
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
