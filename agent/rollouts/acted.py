"""In how many decisions of an episode or a run the fallback acted instead of the agent, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from agent.rollouts.row import Steps

TENTH = 0.1  # if the fallback acted in a larger share of the decisions, the report's headline says so
_AT_STEP = re.compile(r" at step \d+")


def often(fallbacks: int, decisions: int) -> bool:
    """Whether the fallback acted in more than a tenth of the decisions."""
    return fallbacks > TENTH * decisions


def share(fallbacks: int, decisions: int) -> str:
    """The share of decisions in which the fallback acted, as text: 37 %."""
    percent = 100 * fallbacks / decisions if decisions else 0.0
    return f"{percent:.0f} %" if percent >= 1 or percent == 0 else "less than 1 %"


def beginning(steps: Steps) -> int:
    """The number of decisions at the start of the episode in which the fallback acted without a break."""
    return len(steps) if steps.fallback.all() else int(steps.fallback.argmin())


def main_reason(episodes: Iterable[Steps]) -> str:
    """The most frequent reason why the fallback acted; "" if it never acted.

    Reasons that differ only in a time step or a margin count as the same; the first of them is returned.
    """
    reasons = [str(reason) for steps in episodes for reason in steps.reasons[steps.fallback]]
    if not reasons:
        return ""
    sorts = Counter(map(_sort, reasons))
    most = sorts.most_common(1)[0][0]
    found = next(reason for reason in reasons if _sort(reason) == most)
    return found or "no plan kept every guardrail, and the fallback was the least bad"


def _sort(reason: str) -> str:
    return _AT_STEP.sub("", reason.rpartition(": margin ")[0] or reason)
