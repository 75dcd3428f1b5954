"""Converts a budget in seconds to a number of candidates, from the measured time of earlier plans."""

from __future__ import annotations


def learned(known: float, measured: float) -> float:
    """Update the estimate of the planning time per candidate and control step, s.

    The estimate is the mean of the old one and the last measurement. A measurement counts as at most twice the old
    estimate, because the machine may have paused.

    Args:
        known: the estimate so far, s; 0 where there is none.
        measured: what the last plan took, s.
    """
    return measured if not known else (known + min(measured, 2 * known)) / 2


def affordable(seconds: float, per_candidate: float) -> int:
    """The number of candidates that fit into `seconds`, at `per_candidate` > 0 seconds each.

    Rounded down to four significant bits, so that few batch sizes recur: a problem may keep buffers for each size.
    """
    count = int(seconds / per_candidate)
    step = 2 ** max(count.bit_length() - 4, 0)
    return count // step * step
