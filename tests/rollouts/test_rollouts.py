"""Conformance tests of every `Rollouts`: the same numbers, each episode once, rules that cannot change on the way."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.config.config import Config
from agent.rollouts.jobs import Job, Outcome, Rollouts, Tick
from agent.rollouts.parcel import Parcel, opened, sealed
from agent.rollouts.rollouts import Serial
from agent.rollouts.row import TIMES, Row, Steps
from envs.errors import GuardrailTampered, TelosError, Unplayable
from envs.guardrails import build as build_guardrails

pytestmark = pytest.mark.xdist_group("ray")
ARM = Path(__file__).parents[1] / "envs" / "data" / "arm.yaml"
CLOCKED = ("plan_ms", "decision_ms")  # fields of the steps that the clock decides
NEVER: Callable[[], bool] = lambda: False  # noqa: E731


@pytest.fixture(scope="module", params=["serial", "ray with 2 workers on 2 nodes"])
def rollouts(request: pytest.FixtureRequest) -> Iterator[Rollouts]:
    if request.param == "serial":
        yield Serial()
        return
    from agent.rollouts.ray import RayRollouts

    cluster = request.getfixturevalue("cluster")
    ray = RayRollouts(2, 1, cluster.address)
    yield ray
    ray.close()


@pytest.fixture(scope="module")
def jobs(small: Callable[..., Config]) -> list[Job]:
    """Two seeds, two planners, two episodes each."""
    mppi = {"planner.kind": "mppi", "planner.params": {"iterations": 2}}
    parcels = [sealed(small(seed=seed, **more)) for seed in (0, 3) for more in ({}, mppi)]
    return [Job(parcel, episode) for parcel in parcels for episode in range(2)]


@pytest.fixture(scope="module")
def expected(jobs: list[Job]) -> dict[Any, Outcome]:
    return played(Serial(), jobs)


def key(outcome: Outcome) -> tuple[Any, ...]:
    row = outcome.played.row
    return row.task, row.planner, row.seed, row.episode


def played(rollouts: Rollouts, jobs: list[Job], events: list[Any] | None = None) -> dict[Any, Outcome]:
    """All outcomes by key, none of them twice."""
    found: dict[Any, Outcome] = {}
    with closing(rollouts.run(jobs, [].append if events is None else events.append, NEVER)) as outcomes:
        for outcome in outcomes:
            assert key(outcome) not in found
            found[key(outcome)] = outcome
    return found


def untimed(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.values().items() if name not in TIMES}


def same(one: Outcome, other: Outcome) -> bool:
    assert one.played.steps is not None
    assert other.played.steps is not None
    arrays = [field.name for field in fields(Steps) if field.name not in CLOCKED]
    pairs = [(getattr(one.played.steps, name), getattr(other.played.steps, name)) for name in arrays]
    return untimed(one.played.row) == untimed(other.played.row) and all(np.array_equal(a, b) for a, b in pairs)


def test_the_same_numbers_whoever_runs_them(rollouts: Rollouts, jobs: list[Job], expected: dict[Any, Outcome]) -> None:
    events: list[Any] = []
    found = played(rollouts, jobs, events)
    assert found.keys() == expected.keys()
    assert all(same(found[name], expected[name]) for name in expected)
    assert not any(isinstance(event, str) for event in events), "nothing to tell"


def test_every_job_once_and_in_this_order_where_one_runs_them(rollouts: Rollouts, jobs: list[Job]) -> None:
    ran = [outcome.job.episode for outcome in rollouts.run(jobs[:3], [].append, NEVER)]
    assert sorted(ran) == [0, 0, 1]
    assert played(rollouts, []) == {}


def test_a_run_logs_the_same_whoever_runs_it(
    rollouts: Rollouts, small: Callable[..., Config], tmp_path: Path, fast: None
) -> None:
    from agent.command import run

    config = small(frames=4)
    paths = [
        run.run(config, tmp_path / str(n), None, each, (), "jsonl").path for n, each in enumerate([Serial(), rollouts])
    ]
    found = [[json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()] for path in paths]
    assert len(found[0]) == config.total * 5
    for ours, theirs in zip(*found, strict=True):
        assert {name: ours[name] for name in ours if name not in CLOCKED + TIMES} == {
            name: theirs[name] for name in theirs if name not in CLOCKED + TIMES
        }


def test_no_further_job_begins_once_it_is_to_stop(rollouts: Rollouts, jobs: list[Job]) -> None:
    found: list[Outcome] = []
    for outcome in rollouts.run(jobs, [].append, lambda: bool(found)):
        found.append(outcome)
    assert 1 <= len(found) <= 3, "those that ran are finished, and no more"


def test_jobs_are_made_as_they_are_needed(rollouts: Rollouts, small: Callable[..., Config]) -> None:
    """Jobs are an iterator of any length, which must not be read ahead."""
    parcel, made, found = sealed(small(frames=2)), count(), list[Outcome]()
    jobs = (Job(parcel, next(made)) for _ in range(100_000))
    with closing(rollouts.run(jobs, [].append, lambda: len(found) > 2)) as outcomes:
        for outcome in outcomes:
            found.append(outcome)
    assert sorted(outcome.job.episode for outcome in found)[:3] == [0, 1, 2]
    assert next(made) <= len(found) + 4, "no more than workers could soon begin"


def workers(rollouts: Rollouts) -> int:
    return getattr(rollouts, "workers", 1)


def test_a_job_may_depend_on_the_outcomes_before_it(rollouts: Rollouts, small: Callable[..., Config]) -> None:
    """A training loop: each job is made from what was found so far, and the loop ends when enough was found."""
    parcel, found, known = sealed(small(frames=2)), list[Outcome](), list[int]()

    def jobs() -> Iterator[Job]:
        while len(found) < 5:
            known.append(len(found))
            yield Job(parcel, 10 * len(known) + sum(outcome.played.row.decisions for outcome in found))

    for outcome in rollouts.run(jobs(), [].append, NEVER):
        found.append(outcome)
    assert len(found) == len(known) >= 5
    assert all(index - before < workers(rollouts) for index, before in enumerate(known)), "no staler than it must be"
    assert sorted(outcome.job.episode for outcome in found) == [10 * n + 2 * k for n, k in enumerate(known, 1)]


def test_no_job_is_taken_before_a_worker_is_free_for_it(rollouts: Rollouts, small: Callable[..., Config]) -> None:
    parcel, taken, found = sealed(small(frames=2)), list[Job](), list[Outcome]()
    ahead: list[int] = []

    def jobs() -> Iterator[Job]:
        for episode in count():
            taken.append(Job(parcel, episode))
            ahead.append(len(taken) - len(found))
            yield taken[-1]

    for outcome in rollouts.run(jobs(), [].append, lambda: len(found) >= 4):
        found.append(outcome)
    assert max(ahead) == workers(rollouts)
    assert len(taken) - len(found) < workers(rollouts), "none after it is to stop"


@pytest.mark.parametrize("error", [LookupError("no weights"), TelosError("learner", "no weights"), KeyboardInterrupt()])
def test_what_the_jobs_raise_is_raised_here(
    rollouts: Rollouts, small: Callable[..., Config], error: BaseException
) -> None:
    parcel = sealed(small(frames=2))

    def jobs() -> Iterator[Job]:
        if isinstance(error, LookupError):  # with workers that still run
            yield from (Job(parcel, episode) for episode in range(workers(rollouts)))
        raise error

    with pytest.raises(type(error)) as raised:
        list(rollouts.run(jobs(), [].append, NEVER))
    assert raised.value is error
    assert all(worker.job is None for worker in getattr(rollouts, "_staff", [])), "their workers are free again"


@pytest.mark.parametrize("end", ["closed", "stopped", "failed"])
def test_the_generator_of_jobs_is_closed_at_the_end(rollouts: Rollouts, small: Callable[..., Config], end: str) -> None:
    parcel, closed, found = sealed(small(frames=2)), list[bool](), list[Outcome]()
    unplayable = sealed(small(**{"planner.kind": "mcts", "planner.params": {}, "cost.action_rate": 0.1}))

    def jobs() -> Iterator[Job]:
        try:
            for episode in count():
                yield Job(unplayable if end == "failed" else parcel, episode)
        finally:
            closed.append(True)

    made = jobs()  # referred to here, so that it is not closed for want of a reference
    outcomes = rollouts.run(made, [].append, lambda: end == "stopped" and bool(found))
    if end == "failed":
        with pytest.raises(Unplayable):
            list(outcomes)
    else:
        found.append(next(outcomes))
        assert not closed
    if end == "closed":
        outcomes.close()
    elif end == "stopped":
        found.extend(outcomes)
    assert closed == [True]
    with pytest.raises(StopIteration):
        next(made)


def test_abandoned_it_can_run_others(rollouts: Rollouts, jobs: list[Job], expected: dict[Any, Outcome]) -> None:
    stream = rollouts.run(jobs, [].append, NEVER)
    next(stream)
    stream.close()
    found = played(rollouts, jobs[:2])
    assert all(same(outcome, expected[name]) for name, outcome in found.items())


def test_progress_is_told(rollouts: Rollouts, small: Callable[..., Config]) -> None:
    events: list[Any] = []
    frames = 100 if isinstance(rollouts, Serial) else 300
    parcel = sealed(small(frames=frames, episodes=1))
    played(rollouts, [Job(parcel, 0)], events)
    ticks = [event for event in events if isinstance(event, Tick)]
    counts = [tick.steps for tick in ticks]
    assert counts
    assert counts == sorted(counts)
    assert all(tick.episode == 0 and 0 < tick.steps <= frames for tick in ticks)
    assert all(tick.worst.shape == (len(parcel.guardrails),) for tick in ticks)
    if isinstance(rollouts, Serial):
        assert counts == list(range(1, 101))


def test_rules_that_changed_on_the_way_are_refused(rollouts: Rollouts, small: Callable[..., Config]) -> None:
    """The configuration that arrives has a rail twice as long, but the rules that came with it are the old ones."""
    parcel = sealed(small())
    wide = [{**rule, "upper": 2.0} for rule in parcel.config.guardrails]
    loose = parcel.config.model_copy(update={"guardrails": tuple(wide)})
    with pytest.raises(GuardrailTampered):
        list(rollouts.run([Job(replace(parcel, config=loose), 0)], [].append, NEVER))


def test_what_the_first_plan_refuses_cannot_be_played(rollouts: Rollouts, small: Callable[..., Config]) -> None:
    branching = {"planner.kind": "mcts", "planner.params": {}, "cost.action_rate": 0.1}
    with pytest.raises(Unplayable, match="action_rate"):
        list(rollouts.run([Job(sealed(small(**branching)), 0)], [].append, NEVER))


def test_what_an_episode_raises_is_raised_here(rollouts: Rollouts, small: Callable[..., Config]) -> None:
    impossible = {"kind": "joint_position", "name": "far", "joint": "slider", "lower": 5.0, "unit": "m", "scale": 0.1}
    with pytest.raises(TelosError, match="unsafe state"):
        list(rollouts.run([Job(sealed(small(guardrails=[impossible])), 0)], [].append, NEVER))
    assert len(played(rollouts, [Job(sealed(small()), 0)])) == 1, "and the next run goes"


def test_a_parcel_brings_its_files(tmp_path: Path) -> None:
    """On a machine without the files, a user's own task is still the same task."""
    import shutil

    away = tmp_path / "away"
    away.mkdir()
    for name in ("arm.yaml", "arm.xml"):
        shutil.copy(ARM.with_name(name), away)
    from agent.config.load import load

    config = load(task=str(away / "arm.yaml"), overrides={"frames": 3, "planner.horizon": 5, "video": False})
    parcel = pickle.loads(pickle.dumps(sealed(config)))
    assert sorted(Path(name).name for name in parcel.files) == ["arm.xml", "arm.yaml"]
    here = list(Serial().run([Job(parcel, 0)], [].append, NEVER))
    shutil.rmtree(away)
    there = list(Serial().run([Job(parcel, 0)], [].append, NEVER))
    assert same(here[0], there[0])
    assert there[0].played.row.task == config.task, "its own name, not that of a copy"
    assert opened(parcel, parcel.sha256).config.task != config.task


def test_a_task_file_is_parsed_once_per_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.config.load import load
    from envs.mjcf import task as mjcf

    config = load(task=str(ARM), overrides={"frames": 2, "planner.horizon": 5, "video": False})
    parcel, parse, parsed = sealed(config), mjcf.parse, list[str]()
    monkeypatch.setattr(mjcf, "parse", lambda path: (parsed.append(str(path)), parse(path))[1])
    found = list(Serial().run([Job(parcel, 0), Job(parcel, 1)], [].append, NEVER))
    assert len(found) == 2
    assert parsed == [str(ARM)] * 2


def test_a_parcel_is_opened_in_a_folder_of_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other user of the machine can put files there."""
    import os
    import shutil
    import tempfile

    from agent.config.load import load

    away = shutil.copytree(ARM.parent, tmp_path / "away")
    parcel = sealed(load(task=str(away / "arm.yaml"), overrides={"video": False}))
    shutil.rmtree(away)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    task = Path(opened(parcel, parcel.sha256).config.task)
    private = tmp_path / f"telos-{os.getuid()}"
    assert task.is_relative_to(private)
    assert private.stat().st_mode & 0o777 == 0o700
    private.chmod(0o777)
    with pytest.raises(TelosError, match="this user alone"):
        opened(parcel, parcel.sha256)
    shutil.rmtree(private)
    private.symlink_to(tmp_path)
    with pytest.raises(TelosError, match="this user alone"):
        opened(parcel, parcel.sha256)


def test_a_parcel_is_what_its_digest_says(small: Callable[..., Config]) -> None:
    parcel = sealed(small())
    assert sealed(small()).sha256 == parcel.sha256
    assert sealed(small(seed=9)).sha256 != parcel.sha256
    with pytest.raises(GuardrailTampered):
        opened(sealed(small(seed=9)), parcel.sha256)
    weaker = build_guardrails([{**rule, "upper": 2.0} for rule in parcel.config.guardrails])
    changed = Parcel(parcel.config, parcel.files, weaker)
    with pytest.raises(GuardrailTampered):
        opened(changed, changed.sha256)
