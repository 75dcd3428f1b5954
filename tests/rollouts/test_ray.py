"""Tests specific to Ray: its CPUs, and workers or clusters that cannot exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import provenance
from agent.config.config import Config
from agent.rollouts.jobs import Job
from agent.rollouts.parcel import sealed
from agent.rollouts.ray import RayRollouts
from agent.rollouts.rollouts import Serial
from agent.rollouts.row import TIMES
from envs.errors import TelosError

pytestmark = pytest.mark.xdist_group("ray")
NEVER: Callable[[], bool] = lambda: False  # noqa: E731


def test_workers_with_other_versions_are_refused(
    cluster: Any, small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = RayRollouts(1, 1, cluster.address)
    ours = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: {**ours, "mujoco": "3.1.4"})
    try:
        with pytest.raises(TelosError, match=r"worker 0: given mujoco .* allowed: mujoco 3\.1\.4, as here"):
            list(rollouts.run([Job(sealed(small()), 0)], [].append, NEVER))
    finally:
        rollouts.close()


@pytest.mark.parametrize("workers", [0, 99])
def test_workers_that_cannot_be_are_refused(cluster: Any, workers: int) -> None:
    with pytest.raises(TelosError, match="--workers"):
        RayRollouts(workers, 1, cluster.address)


def test_no_cluster_there() -> None:
    with pytest.raises(TelosError, match="--ray"):
        RayRollouts(1, 1, "127.0.0.1:1")


def test_a_cluster_that_fails_at_once_is_stopped_and_leaves_no_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped: list[bool] = []

    def broken() -> dict[str, float]:
        raise RuntimeError("the head is gone")

    fake = SimpleNamespace(cluster_resources=broken, shutdown=lambda: stopped.append(True))
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.setattr("agent.rollouts.ray._connected", lambda *given: fake)
    monkeypatch.setattr("agent.rollouts.ray.ray_folder", lambda: folder)
    with pytest.raises(TelosError, match="the head is gone"):
        RayRollouts(1, 1)
    assert stopped == [True]
    assert not folder.exists()


@pytest.fixture(scope="module")
def one(cluster: Any) -> Iterator[RayRollouts]:
    """A single worker for the tests below. A process connects only once, so the tests above must come first."""
    rollouts = RayRollouts(1, 1, cluster.address)
    yield rollouts
    rollouts.close()


def test_a_worker_keeps_to_its_cpus(one: RayRollouts, small: Callable[..., Config]) -> None:
    (outcome,) = one.run([Job(sealed(small(threads=None)), 0, "probes:threads")], [].append, NEVER)
    assert outcome.played.row.min_margin == {"mujoco": 1.0, "torch": 1.0, "omp": 1.0}


def test_the_code_of_the_driver_travels_along(one: RayRollouts, small: Callable[..., Config]) -> None:
    """A worker on another machine imports this code before the packages installed there."""
    (outcome,) = one.run([Job(sealed(small()), 0, "probes:whereabouts")], [].append, NEVER)
    place = outcome.played.row.min_margin
    assert place["came along"] < place["installed"]


def test_one_worker_plays_all_jobs_in_their_order(one: RayRollouts, small: Callable[..., Config]) -> None:
    jobs = [Job(sealed(small()), episode) for episode in range(3)]
    found = [outcome.played.row.values() for outcome in one.run(jobs, [].append, NEVER)]
    alone = [outcome.played.row.values() for outcome in Serial().run(jobs, [].append, NEVER)]
    assert [row["episode"] for row in found] == [0, 1, 2]
    for ours, theirs in zip(found, alone, strict=True):
        assert {name: ours[name] for name in ours if name not in TIMES} == {
            name: theirs[name] for name in theirs if name not in TIMES
        }


def test_an_error_of_ray_in_the_jobs_is_not_a_failure_of_this_cluster(
    one: RayRollouts, small: Callable[..., Config]
) -> None:
    """A learner that makes the jobs may use Ray itself."""
    from ray.exceptions import GetTimeoutError

    def jobs() -> Iterator[Job]:
        raise GetTimeoutError("the weights are late")
        yield

    with pytest.raises(GetTimeoutError, match="the weights are late"):
        list(one.run(jobs(), [].append, NEVER))
    assert len(list(one.run([Job(sealed(small(frames=2)), 0)], [].append, NEVER))) == 1
