"""Ctrl-C, once: finish the episodes that run, and stop. Twice: stop now."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Within it, the first SIGINT is only noted: what it yields says so. The next one raises KeyboardInterrupt.

    Outside the main thread, where Python delivers no signals, it never says so.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # Straight to the terminal: whatever was interrupted may be in the middle of using the console.
        os.write(2, b"\nstopping when the running episodes are finished; Ctrl-C again to stop now\n")

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not in the main thread
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
