"""A cluster that loses a node: the node's episodes start again on the remaining nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.config.config import Config
from agent.rollouts.jobs import Job, Outcome
from agent.rollouts.parcel import sealed
from agent.rollouts.ray import RayRollouts
from agent.rollouts.rollouts import Serial

pytestmark = pytest.mark.xdist_group("ray")
NEVER: Callable[[], bool] = lambda: False  # noqa: E731


@pytest.mark.slow
def test_a_node_that_is_lost(cluster: Any, small: Callable[..., Config]) -> None:
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    rollouts = RayRollouts(3, 1, cluster.address, patience=30.0)
    jobs = [Job(sealed(small(frames=60, episodes=5)), episode) for episode in range(5)]
    events: list[Any] = []
    found: list[Outcome] = []
    try:
        for outcome in rollouts.run(jobs, events.append, NEVER):
            found.append(outcome)
            if len(found) == 1:
                cluster.remove_node(node, allow_graceful=False)
    finally:
        rollouts.close()
    returns = {outcome.job.episode: outcome.played.row.return_ for outcome in found}
    assert len(found) == len(returns) == 5
    (last,) = Serial().run(jobs[4:], [].append, NEVER)
    assert returns[4] == last.played.row.return_
    notices = [event for event in events if isinstance(event, str)]
    assert all("takes its place" in text or "begins again" in text for text in notices), notices


@pytest.mark.slow
def test_a_node_that_runs_out_of_memory(cluster: Any, small: Callable[..., Config]) -> None:
    """Ray's memory monitor kills this node's workers again and again; the other nodes keep playing."""
    crowded = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100"}
    node = cluster.add_node(num_cpus=1, env_vars=crowded)
    cluster.wait_for_nodes()
    rollouts = RayRollouts(3, 1, cluster.address, attempts=100)
    jobs = [Job(sealed(small(frames=100, episodes=4)), episode) for episode in range(4)]
    events: list[Any] = []
    try:
        found = list(rollouts.run(jobs, events.append, NEVER))
    finally:
        rollouts.close()
        cluster.remove_node(node)
    assert sorted(outcome.job.episode for outcome in found) == list(range(4))
    assert any("ran out of memory" in event for event in events if isinstance(event, str)), events[-3:]
    (last,) = Serial().run(jobs[3:], [].append, NEVER)
    assert next(o for o in found if o.job.episode == 3).played.row.return_ == last.played.row.return_
