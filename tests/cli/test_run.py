"""A run directory has all required content, and a run can be stopped at any moment."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent import build
from agent.command import run as commands
from agent.config import resolved
from agent.config.config import Config
from agent.config.load import load
from agent.memory.episode import ARRAYS
from agent.memory.memory import Memory
from agent.rollouts import player
from agent.rollouts.row import TIMES, Row, to_json
from agent.runs.manifest import config_sha256, manifest_of
from agent.runs.rundir import RunDir
from envs.backup import BackUp
from tests.conftest import unreported

BRAKE = {"seconds": 1.5, "rest_speed": 0.2, "gain": 5.0, "joints": ["slider"]}  # as the task declares it
ASKED = (
    *("task", "planner", "world_model", "seed", "episode", "env_frames", "decisions", "return", "privileged"),
    *("violation_steps", "min_margin", "interventions", "fallbacks", "plan_ms_median", "plan_ms_p95"),
    *("model_steps_per_decision", "simulator_fraction", "guardrails_sha256", "rules_sha256"),
)


def rows(path: Path, times: bool = False) -> list[dict[str, Any]]:
    found = [Row.parse(line, "row").values() for line in (path / "episodes.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if times or k not in TIMES} for row in found]


def same_steps(a: Path, b: Path, episodes: int) -> bool:
    names = ("action", "state", "reward", "margin", "violated", "plan_cost", "intervened", "reasons")
    return all(
        np.array_equal(getattr(RunDir.open(a).steps(i), name), getattr(RunDir.open(b).steps(i), name))
        for i in range(episodes)
        for name in names
    )


def test_files_and_rows(finished: Path, config_file: Path) -> None:
    names = {"config.yaml", "manifest.json", "episodes.jsonl", "steps", "summary.json", "report.html"}
    assert names | {"memory.safetensors"} <= {item.name for item in finished.iterdir()}
    assert not list(finished.rglob("*.part*"))
    found = rows(finished, times=True)
    assert [row["episode"] for row in found] == [0, 1, 2]
    for row in found:
        assert set(ASKED) <= row.keys()
        assert row["env_frames"] == row["decisions"] == 20
        assert row["model_steps_per_decision"] == 12 * 8
        assert set(row["min_margin"]) == {"rail", "slow"}
        assert 0 < row["simulator_fraction"] <= 1
    assert load(str(finished / "config.yaml")) == load(str(config_file))


def test_manifest(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["schema"] == 5
    assert manifest["assurance"] == "L2"
    assert manifest["safe_stop"] is True
    assert manifest["privileged"] is True
    assert manifest["guardrails_sha256"] == rows(finished)[0]["guardrails_sha256"]
    assert manifest["rules_sha256"] == rows(finished)[0]["rules_sha256"]
    assert manifest["config_sha256"] == config_sha256(RunDir.open(finished).config)
    assert manifest["files_sha256"] == {}, "a built-in task"
    assert {"telos", "python", "torch", "mujoco", "dm_control", "gymnasium", "numpy"} <= manifest["versions"].keys()


def test_the_back_up_belongs_to_the_evidence(config_file: Path) -> None:
    """Different rules have different digests; equal rules have equal ones, however they were declared."""
    config = load(str(config_file))
    strict = load(str(config_file), overrides={"back_up": {**BRAKE, "rest_speed": 0.1}})
    said_again = load(str(config_file), overrides={"back_up": BRAKE})
    task = resolved.resolve(config).task
    found = [build.gate(each, task, task.interface()) for each in (config, strict, said_again)]
    digests = [resolved.rules_sha256(gate.digest, gate.back_up) for gate in found]
    assert digests[0] == digests[2] != digests[1]
    assert len({gate.digest for gate in found}) == 1, "of the guardrails alone"
    assert len({*digests, resolved.rules_sha256(found[0].digest, None)}) == 3
    heavy = load(str(config_file), overrides={"world_model.variants": [{"mass": 1.3}]})
    gate = build.gate(heavy, task, task.interface())
    assert resolved.rules_sha256(found[0].digest, gate.back_up, gate.variants) != digests[0], "it tries more worlds"
    assert resolved.rules_sha256(found[0].digest, gate.back_up) == digests[0]
    whole, ordered = BackUp(1, 1, 1, ("b", "a")), BackUp(1.0, 1.0, 1.0, ("a", "b"))
    assert resolved.rules_sha256("x", whole) == resolved.rules_sha256("x", ordered)


def test_summary(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    for name in ("return", "violation_steps", "plan_ms_median", "violation_rate", "min_margin.rail"):
        assert summary[name].keys() == {"mean", "low", "high", "n"}
        assert summary[name]["low"] <= summary[name]["mean"] <= summary[name]["high"]
        assert summary[name]["n"] == 3
    assert summary["return"]["mean"] == pytest.approx(np.mean([row["return"] for row in rows(finished)]))


def test_steps_agree_with_rows_and_memory(finished: Path) -> None:
    rundir = RunDir.open(finished)
    memory = Memory.load(finished / "memory.safetensors")
    for row in rundir.rows():
        steps = rundir.steps(row.episode)
        assert row.return_ == pytest.approx(steps.reward.sum())
        assert row.violation_steps == steps.violated.sum()
        assert list(row.min_margin.values()) == steps.margin.min(0).tolist()
        assert np.array_equal(memory.episodes[row.episode].actions, steps.action)
        assert np.array_equal(memory.episodes[row.episode].states[1:], steps.state)


def test_not_finite_is_valid_json(finished: Path) -> None:
    row = RunDir.open(finished).rows()[0]
    values = {"a": float("inf"), "b": [float("nan"), -float("inf")]}
    assert json.loads(to_json(values)) == {"a": "Infinity", "b": ["NaN", "-Infinity"]}
    odd = Row(**{**vars(row), "min_margin": {"rail": -float("inf")}})
    assert Row.parse(odd.line(), "row") == odd


def test_the_same_directory_goes_on_and_another_config_is_refused(telos, copy: Path, config_file: Path, fast) -> None:
    before = (copy / "episodes.jsonl").read_bytes()
    assert telos("run", config_file, "--out", copy).status == 0
    assert (copy / "episodes.jsonl").read_bytes() == before
    other = telos("run", config_file, "--seed", 1, "--out", copy)
    assert other.status == 2
    assert "another configuration (other seed)" in other.err
    assert "telos resume" in other.err


def test_default_out_is_numbered(telos, config_file: Path, tmp_path: Path, monkeypatch, fast) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cartpole-swingup-mppi-seed4", "cartpole-swingup-mppi-seed4-2"):
        args = ("--planner.kind", "mppi", "--seed", 4, "--episodes", 1, "--frames", 2, "--planner.params", "{}")
        assert telos("run", config_file, *args).out.strip() == f"runs/{name}/report.html"


def test_a_report_says_that_a_line_is_torn(telos, copy: Path) -> None:
    assert telos("report", copy).err == ""
    (copy / "episodes.jsonl").write_bytes(bytes(range(128, 228)))
    done = telos("report", copy)
    assert done.status == 0
    assert "a torn last line (100 bytes) of episodes.jsonl" in done.err


def test_torn_last_line_is_dropped_and_its_episode_runs_again(telos, finished: Path, copy: Path, fast) -> None:
    file = copy / "episodes.jsonl"
    file.write_bytes(file.read_bytes()[:-30])
    assert len(RunDir.open(copy).rows()) == 2  # readers see only complete rows
    done = telos("resume", copy)
    assert done.status == 0
    assert "dropped a torn last line" in done.err
    assert rows(copy) == rows(finished)
    assert same_steps(copy, finished, 3)


@pytest.mark.parametrize("finished_episodes", [0, 1, 2])
def test_resume_continues_after_any_episode(telos, finished: Path, copy: Path, fast, finished_episodes: int) -> None:
    file = copy / "episodes.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:finished_episodes]))
    (copy / "memory.safetensors").unlink()
    assert telos("resume", copy).status == 0
    assert rows(copy) == rows(finished)
    memories = [Memory.load(path / "memory.safetensors").episodes for path in (copy, finished)]
    for ours, theirs in zip(*memories, strict=True):
        assert all(np.array_equal(value, getattr(theirs, name)) for name, value in vars(ours).items())


@pytest.mark.parametrize("moment", range(1, 14, 3))
def test_interrupt_at_any_sync(
    telos, finished: Path, config_file: Path, tmp_path: Path, fast, monkeypatch, moment: int
) -> None:
    """Ctrl-C while the n-th file is being put on disk."""
    real, calls = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise KeyboardInterrupt
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    out = tmp_path / "run"
    first = telos("run", config_file, "--out", out)
    monkeypatch.setattr(os, "fsync", real)
    if calls < moment:
        assert first.status == 0
    elif not out.exists():  # stopped before there was a run to resume
        assert first.status == 130
        assert not list(tmp_path.iterdir())
        return
    else:
        assert first.status == 130
        assert f"telos resume {out}" in first.err
        assert telos("resume", out).status == 0
    assert rows(out) == rows(finished)
    assert same_steps(out, finished, 3)
    assert not list(out.rglob("*.part*"))


@pytest.mark.parametrize("moment", ["running", "clearing up"])
def test_ctrl_c_while_the_rollouts_are_closed_still_says_how_to_go_on(
    telos, config_file: Path, tmp_path: Path, monkeypatch, moment: str
) -> None:
    """Ray takes a second to shut down, so the second Ctrl-C may come during that time."""

    class Stopped:
        def run(self, jobs: Any, watch: Any, stop: Any) -> Iterator[Any]:
            raise KeyboardInterrupt
            yield

    @contextmanager
    def rollouts_for(*given: Any) -> Iterator[Any]:
        try:
            yield Stopped()
        finally:
            if moment == "clearing up":
                raise KeyboardInterrupt

    monkeypatch.setattr("agent.rollouts.rollouts.rollouts_for", rollouts_for)
    out = tmp_path / "run"
    done = telos("run", config_file, "--workers", 2, "--out", out)
    assert done.status == 130
    assert f"telos resume {out}" in done.err


def test_ctrl_c_before_there_is_anything_to_say(telos, config_file: Path, monkeypatch) -> None:
    def rollouts_for(*given: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("agent.rollouts.rollouts.rollouts_for", rollouts_for)
    done = telos("run", config_file)
    assert (done.status, done.err) == (130, "telos: interrupted\n")


LONGER = ("--frames", "20", "--episodes", "5", "--video", "false")


@pytest.fixture(scope="module")
def straight(telos, config_file: Path) -> Path:
    """A longer run without interruption."""
    path = config_file.parent / "straight"
    with unreported():
        assert telos("run", config_file, *LONGER, "--out", path).status == 0
    return path


def begun(config_file: Path, out: Path, enough: Callable[[], bool]) -> subprocess.Popen[str]:
    """`telos run` in its own process; returns when `enough()` holds or the process has ended."""
    command = [sys.executable, "-m", "agent.command.cli", "run", str(config_file), *LONGER, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not enough() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    return process


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGTERM))],
)
def test_a_real_signal_at_a_random_moment(
    telos, config_file: Path, straight: Path, tmp_path: Path, fast, number: int
) -> None:
    """A separate process is stopped at a random time during its episodes."""
    out = tmp_path / "run"
    process = begun(config_file, out, out.exists)
    time.sleep(random.uniform(0, 1.5))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode in ((-signal.SIGKILL, 0) if number == signal.SIGKILL else (130, 0)), err
    assert "Traceback" not in err, err
    if process.returncode == 130:
        assert f"telos resume {out}" in err
    assert telos("resume", out).status == 0
    assert rows(out) == rows(straight)
    assert same_steps(out, straight, 5)


def test_an_agent_that_estimates_remembers_what_it_believed(telos, config_file: Path, tmp_path: Path, fast) -> None:
    """A resumed run recalls its beliefs, not the simulator's states, which it never saw."""
    short = ("--perception", "{kind: estimated}", "--episodes", 2, "--frames", 6, "--video", "false")
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    assert telos("run", config_file, *short, "--out", straight).status == 0
    shutil.copytree(straight, resumed)
    file = resumed / "episodes.jsonl"
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])
    (resumed / "memory.safetensors").unlink()
    assert telos("resume", resumed).status == 0
    assert rows(resumed) == rows(straight)
    memories = [Memory.load(path / "memory.safetensors").episodes for path in (straight, resumed)]
    for ours, theirs in zip(*memories, strict=True):
        assert all(np.array_equal(value, getattr(theirs, name)) for name, value in vars(ours).items())
    steps = RunDir.open(straight).steps(0)
    assert steps.belief.shape == (7, steps.state.shape[1])
    assert not np.array_equal(steps.believed[1:], steps.state), "it estimates"


def test_the_state_that_an_agent_reads_is_stored_once(finished: Path) -> None:
    steps = RunDir.open(finished).steps(0)
    assert steps.belief.shape == (1, steps.state.shape[1])
    assert np.array_equal(steps.believed[1:], steps.state)


def test_two_processes_do_not_write_one_directory(telos, copy: Path) -> None:
    with RunDir.open(copy).locked():
        second = telos("resume", copy)
    assert second.status == 2
    assert "still going" in second.err


@pytest.mark.xdist_group("ray")
def test_with_ray_the_rows_are_the_same(finished: Path, config_file: Path, tmp_path: Path) -> None:
    """Like a user's run, it starts its own cluster, even if RAY_ADDRESS names another one."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "agent.command.cli", "run", str(config_file), "--workers", "2", "--out", str(out)]
    elsewhere = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run(command, env=elsewhere, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(rows(out), key=lambda row: row["episode"]) == rows(finished)
    assert same_steps(out, finished, 3)
    memories = [Memory.load(path / "memory.safetensors").episodes for path in (out, finished)]
    for ours, theirs in zip(*memories, strict=True):
        assert all(np.array_equal(value, getattr(theirs, name)) for name, value in vars(ours).items())


@pytest.mark.parametrize("presses", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_once_finishes_the_episode_twice_stops_now(
    telos, config_file: Path, straight: Path, tmp_path: Path, fast, presses: int
) -> None:
    out = tmp_path / "run"
    process = begun(config_file, out, lambda: bool(list(out.glob("steps/*.npz"))))
    before = len((out / "episodes.jsonl").read_text().splitlines())
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    if process.returncode == 130:  # it may have finished already
        assert f"telos resume {out}" in err
        assert "Ctrl-C again" in err
        if presses == 1:
            assert len(rows(out)) >= max(1, before), "what was running was finished"
    assert telos("resume", out).status == 0
    assert rows(out) == rows(straight)
    assert same_steps(out, straight, 5)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that executes three steps of each plan."""
    out = tmp_path_factory.mktemp("kept") / "run"
    small = {"planner": {"horizon": 6, "budget": {"evaluations": 12}, "params": {"knots": 3}, "replan_every": 3}}
    given = {"task": "dm_control/cartpole-swingup-v0", "frames": 7, "threads": 1, "video": False, **small}
    with unreported():
        commands.run(Config.model_validate(given), out)
    return out


def test_planning_time_is_that_of_steps_that_plan(kept: Path) -> None:
    rundir = RunDir.open(kept)
    (row,) = rundir.rows()
    searched = [ms for ms in rundir.steps(0).plan_ms.tolist() if ms > 0]
    assert len(searched) == 3
    assert row.plan_ms_median == np.median(searched)


def test_a_step_that_executes_an_older_plan_is_not_explained_by_it(telos, kept: Path) -> None:
    done = telos("explain", kept, "--episode", 0, "--step", 4)
    assert done.status == 2
    assert "4, which executes action 1 of the plan of step 3; allowed: 3, a step with a plan of its own" in done.err
    assert telos("explain", kept, "--episode", 0, "--step", 3).status == 0


def test_memory_and_run_directory_hold_one_record(tmp_path: Path) -> None:
    """An episode as the agent remembers it, and as it is read back from the run directory."""
    given = Config.model_validate(
        {
            "task": "dm_control/reacher-easy-v0",
            "planner": {"horizon": 4, "budget": {"evaluations": 8}, "params": {"knots": 2}},
            "frames": 5,
            "threads": 1,
            "video": False,
        }
    )
    agent, world = player.made(given)
    stream = player.played(agent, world, given, 0)
    while True:
        try:
            next(stream)
        except StopIteration as end:
            played = end.value
            break
    rundir = RunDir.create(tmp_path / "run", given, manifest_of(given))
    rundir.record(played.row, played.steps)
    (row,) = rundir.rows()
    ours, theirs = agent.memory.episodes[-1], rundir.steps(0).episode(row)
    for name in ARRAYS:
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.params
    assert ours.params.keys() == theirs.params.keys()
    assert all(np.array_equal(value, theirs.params[name]) for name, value in ours.params.items())
    for name in ("terminated", "truncated", "goal", "actor"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.truncated, "the run's own limit of frames ended it"
