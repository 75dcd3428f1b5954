"""Ctrl-C: the first one finishes the running episodes and then stops, the second one stops at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT has arrived. Only the second SIGINT raises KeyboardInterrupt.

    Outside the main thread, where Python delivers no signals, the function always returns False.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # Write to file descriptor 2 directly: the interrupted code may be in the middle of using the console.
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
