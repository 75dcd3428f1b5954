"""Real time: clocks, ticks, and timing statistics of an episode."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> float:
        """The time, s."""
        ...

    def wait(self, until: float) -> None:
        """Return when `now` is `until` or later."""
        ...


class WallClock:
    """Real time."""

    def now(self) -> float:
        return time.perf_counter()

    def wait(self, until: float) -> None:
        while (left := until - self.now()) > 0:
            time.sleep(left)


class Ticks:
    """One tick per period; a late tick delays all later ticks by as much, so the world does not catch up."""

    def __init__(self, clock: Clock, period: float) -> None:
        """period: s between ticks."""
        self.clock = clock
        self.period = period
        self.passed = 0
        self._first = self._last = clock.now()

    def wait(self) -> None:
        """Wait until the next tick."""
        self._last = max(self._last + self.period, self.clock.now())
        self.clock.wait(self._last)
        self.passed += 1

    @property
    def seconds(self) -> float:
        """The time from the start to the last tick, s."""
        return self._last - self._first


@dataclass(frozen=True)
class Pace:
    """Timing statistics of an episode in real time."""

    asked: float  # requested simulated seconds per second
    factor: float  # achieved simulated seconds per second; NaN before the second decision
    age_median: float  # s of simulated time between a plan's start state and its executed action
    age_p95: float  # s
    plans: int  # number of finished plans
    planning: float  # s, spent on finished plans
