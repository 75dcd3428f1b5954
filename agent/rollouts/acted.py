"""How much of an episode, or of a run, the agent decided: the rest was the fallback's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from agent.rollouts.row import Steps

TENTH = 0.1  # a larger share of decisions in which the fallback acted belongs into the headline
_AT_STEP = re.compile(r" at step \d+")


def often(fallbacks: int, decisions: int) -> bool:
    """Whether the fallback acted so often that the result is not the agent's alone."""
    return fallbacks > TENTH * decisions


def share(fallbacks: int, decisions: int) -> str:
    """In how many of the decisions the fallback acted, as text: 37 %."""
    percent = 100 * fallbacks / decisions if decisions else 0.0
    return f"{percent:.0f} %" if percent >= 1 or percent == 0 else "less than 1 %"


def beginning(steps: Steps) -> int:
    """Decisions from the first on in which the fallback acted without a break."""
    return len(steps) if steps.fallback.all() else int(steps.fallback.argmin())


def main_reason(episodes: Iterable[Steps]) -> str:
    """Why the fallback acted most often: the first reason of the most frequent sort; "" where it never acted.

    Reasons are of one sort where they differ in a time step or in a margin.
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
