"""How many candidates seconds are worth: a search under a budget in seconds learns it from the plans before."""

from __future__ import annotations


def learned(known: float, measured: float) -> float:
    """s per control step of a candidate, all in all, given what was known before (0: nothing) and what the last plan
    took.

    Half of it is the last plan's, and that counts as at most twice as slow as known: the machine may have paused.
    """
    return measured if not known else (known + min(measured, 2 * known)) / 2


def affordable(seconds: float, pace: float) -> int:
    """Candidates in so many seconds, at `pace` > 0 s each.

    Down to four significant bits: few sizes recur, for each of which a problem may keep buffers.
    """
    count = int(seconds / pace)
    step = 2 ** max(count.bit_length() - 4, 0)
    return count // step * step
