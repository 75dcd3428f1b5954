"""A clock that tests move by hand, so that budgets in seconds give the same search on a busy machine."""

from __future__ import annotations

import pytest


class Clock:
    """The time `now`, s, that searches read instead of the wall clock."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("planners.search.search.perf_counter", made)
    return made
