"""Real time: clocks, ticks, and how an episode kept up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> float:
        """s"""
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
    """One tick per period. The world that is late does not hurry afterwards: its later ticks are late by as much."""

    def __init__(self, clock: Clock, period: float) -> None:
        """period: s between ticks."""
        self.clock = clock
        self.period = period
        self.passed = 0
        self._first = self._last = clock.now()

    def wait(self) -> None:
        """Until the next tick."""
        self._last = max(self._last + self.period, self.clock.now())
        self.clock.wait(self._last)
        self.passed += 1

    @property
    def seconds(self) -> float:
        """From the beginning to the last tick."""
        return self._last - self._first


@dataclass(frozen=True)
class Pace:
    """How an episode in real time went."""

    asked: float  # simulated seconds per second
    factor: float  # as it was; NaN before the second decision
    age_median: float  # s of simulated time between the state that a plan starts from and its action
    age_p95: float  # s
    plans: int  # finished
    planning: float  # s, spent on those
