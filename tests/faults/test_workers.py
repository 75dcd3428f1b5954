"""Faults of a worker, a node or the clock; the rows are the same as without the fault."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from agent.config.config import Config
from agent.rollouts.jobs import Job, Outcome
from agent.rollouts.parcel import sealed
from agent.rollouts.ray import RayRollouts
from agent.rollouts.rollouts import Serial
from benchmarks.players.trivial import PLAYER
from envs.errors import TelosError

pytestmark = pytest.mark.xdist_group("ray")
NEVER: Callable[[], bool] = lambda: False  # noqa: E731


@pytest.fixture(scope="module")
def ray(cluster: Any) -> Iterator[RayRollouts]:
    rollouts = RayRollouts(2, 1, cluster.address, attempts=3, patience=5.0)
    list(rollouts.run([], [].append, NEVER))
    yield rollouts
    rollouts.close()


def rows(outcomes: list[Outcome]) -> list[str]:
    return sorted(outcome.played.row.line() for outcome in outcomes)


@pytest.mark.parametrize(
    ("player", "told"),
    [("probes:dies", "died"), pytest.param("probes:stands_still", "stands still", marks=pytest.mark.slow)],
)
def test_a_worker_that_is_killed_or_stopped(
    ray: RayRollouts, small: Callable[..., Config], player: str, told: str
) -> None:
    parcel = sealed(small(seed=random.randrange(2**30)))
    events: list[Any] = []
    found = list(ray.run([Job(parcel, episode, player) for episode in range(2)], events.append, NEVER))
    assert rows(found) == rows(list(Serial().run([Job(parcel, e, PLAYER) for e in range(2)], [].append, NEVER)))
    notices = [event for event in events if isinstance(event, str)]
    assert len(notices) == 2, "each episode lost its worker once"
    assert all(told in notice and "begins again" in notice for notice in notices)


def test_an_episode_that_kills_every_worker_ends_the_run(ray: RayRollouts, small: Callable[..., Config]) -> None:
    events: list[Any] = []
    with pytest.raises(TelosError, match=r"episode 0: given died .* 3 times"):
        list(ray.run([Job(sealed(small()), 0, "probes:always_dies")], events.append, NEVER))
    assert len([event for event in events if isinstance(event, str)]) == 2


def test_memory_that_is_not_there(ray: RayRollouts, small: Callable[..., Config]) -> None:
    with pytest.raises(MemoryError, match="TiB"):
        list(ray.run([Job(sealed(small()), 0, "probes:out_of_memory")], [].append, NEVER))


def test_a_clock_that_jumps(small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes do not read the wall clock, so a jump does not matter."""
    job = Job(sealed(small(episodes=1)), 0)
    expected = [outcome.played.row for outcome in Serial().run([job], [].append, NEVER)]
    jumps = np.random.default_rng(0)
    monkeypatch.setattr(time, "time", lambda: float(jumps.uniform(-1e9, 4e9)))
    monkeypatch.setattr(time, "time_ns", lambda: int(jumps.integers(0, 2**62)))
    found = [outcome.played.row for outcome in Serial().run([job], [].append, NEVER)]
    assert [row.return_ for row in found] == [row.return_ for row in expected]
    assert all(0 < row.seconds < 60 and 0 < row.plan_ms_median < 60_000 for row in found)
