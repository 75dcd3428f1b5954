"""`--logger`: the numbers of rows and steps as JSON lines, or as TensorBoard's event files."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from collections.abc import Callable, Generator, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.command import run
from agent.config.load import load
from agent.rollouts.jobs import Job, Outcome, Watch
from agent.rollouts.rollouts import Serial
from agent.rollouts.row import TIMES, number
from agent.runs import logger, logs
from agent.runs.rundir import RunDir
from envs.errors import TelosError
from tests.conftest import unreported

STEPS = ("reward", "violated", "plan_cost", "plan_feasible", "plan_ms", "decision_ms", "intervened", "fallback")
Lines = list[dict[str, Any]]


def lines(path: Path) -> Lines:
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def expected(path: Path) -> Lines:
    """The lines that follow from the rows and steps of a run."""
    found: Lines = []
    for row in RunDir.open(path).rows():
        steps, key = RunDir.open(path).steps(row.episode), {"episode": row.episode, "seed": row.seed}
        for t in range(len(steps)):
            margins = {f"margin.{name}": float(steps.margin[t, g]) for g, name in enumerate(row.min_margin)}
            found.append({**key, "step": t, **{name: float(getattr(steps, name)[t]) for name in STEPS}, **margins})
        found.append({**key, **row.numbers()})
    return found


def curves(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> the points (step, value) of TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def points(found: Lines) -> dict[str, list[tuple[int, float]]]:
    """The same numbers, taken from JSON lines: episodes by index, control steps counted from the run's beginning."""
    curves: dict[str, list[tuple[int, float]]] = {}
    steps = 0
    for line in found:
        series = "step" if "step" in line else "episode"
        at = steps if series == "step" else line["episode"]
        steps += series == "step"
        for name, value in line.items():
            if name not in ("episode", "seed", "step"):
                curves.setdefault(f"{series}/{name}", []).append((at, float(np.float32(number(value)))))
    return curves


def untimed(path: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in vars(row).items() if name not in TIMES} for row in RunDir.open(path).rows()]


@pytest.fixture(scope="module")
def logged(telos: Callable[..., Any], config_file: Path) -> Path:
    """A run with both logs; tests must not write to it."""
    path = config_file.parent / "logged"
    with unreported():
        assert telos("run", config_file, "--out", path, "--logger", "jsonl").status == 0
        assert telos("resume", path, "--logger", "tensorboard").status == 0
    return path


@pytest.fixture
def half(logged: Path, tmp_path: Path) -> Path:
    """A copy of the run as a process left it that was killed before its second row was logged."""
    path = shutil.copytree(logged, tmp_path / "half")
    rows = (path / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (path / "episodes.jsonl").write_bytes(b"".join(rows[:2]))
    log = (path / "log.jsonl").read_bytes()
    (path / "log.jsonl").write_bytes(log[: len(log) // 3 + 7])
    return path


def test_a_line_for_every_step_and_every_episode(logged: Path) -> None:
    assert lines(logged) == expected(logged)
    episodes = [line for line in lines(logged) if "step" not in line]
    asked = {"return", "decisions", "min_margin.rail", "min_margin.slow", "fallbacks", "violation_steps"}
    assert all(asked | {"plan_ms_median", "plan_ms_p95"} <= line.keys() for line in episodes)
    assert [line["episode"] for line in episodes] == [0, 1, 2]


def test_tensorboard_reads_the_same_numbers(logged: Path) -> None:
    assert curves(logged) == points(lines(logged))


def test_a_log_changes_nothing_else(logged: Path, finished: Path) -> None:
    assert untimed(logged) == untimed(finished)
    with_log, without = RunDir.open(logged), RunDir.open(finished)
    assert with_log.config == without.config
    assert with_log.manifest.config_sha256 == without.manifest.config_sha256


def test_a_resumed_run_logs_each_episode_once(telos, half: Path, fast) -> None:
    """The logs that are there go on, whether or not they are asked for again."""
    assert telos("resume", half).status == 0
    assert [line["episode"] for line in lines(half) if "step" not in line] == [0, 1, 2]
    assert lines(half) == expected(half)
    assert curves(half) == points(expected(half))
    assert len(list((half / "tensorboard").iterdir())) == 1
    assert not list(half.rglob("*.part*"))


def test_an_episode_that_runs_again_is_logged_again(telos, half: Path, fast) -> None:
    """The row of a logged episode turns out to be damaged."""
    file = half / "episodes.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"decisions": 20', b'"decisions": 21', 1))
    assert telos("resume", half).status == 0
    assert lines(half) == expected(half)


def test_a_run_without_a_log_gets_one_later(telos, copy: Path, fast) -> None:
    assert not (copy / "log.jsonl").exists()
    assert telos("resume", copy, "--logger", "jsonl").status == 0
    assert lines(copy) == expected(copy)


def test_episodes_are_logged_in_order(config_file: Path, tmp_path: Path, fast) -> None:
    """Workers finish episodes in any order, and TensorBoard drops points that a smaller step follows."""

    class Backwards:
        def run(self, jobs: Iterable[Job], watch: Watch, stop: Callable[[], bool]) -> Generator[Outcome, None, None]:
            yield from Serial().run(reversed(list(jobs)), watch, stop)

    config = load(str(config_file))
    path = run.run(config, tmp_path / "run", rollouts=Backwards(), logger="jsonl").path
    assert lines(path) == expected(path)
    assert [line["episode"] for line in lines(path) if "step" not in line] == [0, 1, 2]
    steps = [(line["episode"], line["step"]) for line in lines(path) if "step" in line]
    assert all(before < after for before, after in pairwise(steps))


def test_what_waits_for_an_earlier_episode_is_logged_at_the_end(logged: Path, tmp_path: Path) -> None:
    path = shutil.copytree(logged, tmp_path / "run")
    rows = RunDir.open(path).rows()
    with logs.opened(RunDir.open(path), [], logs.wanted("jsonl"), print) as add:
        add(rows[2])
        add(rows[0])
        assert {line["episode"] for line in lines(path)} == {0}
    assert {line["episode"] for line in lines(path)} == {0, 2}


def test_a_log_that_cannot_be_written_ends_but_the_run_goes_on(
    telos, config_file: Path, finished: Path, tmp_path: Path, fast, monkeypatch
) -> None:
    from agent.runs.jsonl import JsonLines

    real, calls = JsonLines.flush, 0

    def full(self: JsonLines) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        real(self)

    monkeypatch.setattr(JsonLines, "flush", full)
    done = telos("run", config_file, "--out", tmp_path / "run", "--logger", "jsonl")
    assert done.status == 0
    assert done.err.count("no space left on device") == 1
    assert f"telos resume {tmp_path / 'run'} --logger jsonl" in done.err
    assert untimed(tmp_path / "run") == untimed(finished)
    monkeypatch.setattr(JsonLines, "flush", real)
    assert telos("resume", tmp_path / "run").status == 0
    assert lines(tmp_path / "run") == expected(tmp_path / "run")


@pytest.mark.parametrize("moment", [1, 3])
def test_an_interrupt_while_logging_loses_and_repeats_nothing(
    telos, config_file: Path, finished: Path, tmp_path: Path, fast, monkeypatch, moment: int
) -> None:
    from agent.runs.jsonl import JsonLines

    real, calls = JsonLines.flush, 0

    def interrupted(self: JsonLines) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise KeyboardInterrupt
        real(self)

    monkeypatch.setattr(JsonLines, "flush", interrupted)
    path = tmp_path / "run"
    assert telos("run", config_file, "--out", path, "--logger", "jsonl").status == 130
    monkeypatch.setattr(JsonLines, "flush", real)
    assert telos("resume", path).status == 0
    assert lines(path) == expected(path)
    assert untimed(path) == untimed(finished)
    assert not list(path.rglob("*.part*"))


def test_a_missing_package_is_refused_before_the_run_begins(
    telos, config_file: Path, logged: Path, tmp_path: Path, monkeypatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "agent.runs.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    done = telos("run", config_file, "--out", tmp_path / "run", "--workers", 99, "--logger", "tensorboard")
    assert done.status == 2
    assert "--logger: given 'tensorboard', which is not installed" in done.err
    assert f"pip install '{logger.KINDS['tensorboard'].needs}'" in done.err
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
    again = telos("resume", logged)
    assert again.status == 2
    assert f"without {logged / 'tensorboard'}" in again.err


def test_an_unknown_logger_is_refused(telos, config_file: Path, tmp_path: Path) -> None:
    done = telos("run", config_file, "--out", tmp_path / "run", "--logger", "tensorbord")
    assert done.status == 2
    assert "--logger: given 'tensorbord'; did you mean 'tensorboard'?; allowed: jsonl, tensorboard" in done.err
    assert not list(tmp_path.iterdir())
    with pytest.raises(TelosError, match="--logger"):
        run.run(load(str(config_file)), tmp_path / "run", logger="csv")


def test_the_extra_names_what_the_message_says() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert pyproject["project"]["optional-dependencies"]["tensorboard"] == [logger.KINDS["tensorboard"].needs]


def test_help_tells_of_it(telos) -> None:
    assert "--logger jsonl|tensorboard" in telos("run", "--help").out
    assert "--logger jsonl|tensorboard" in telos("resume", "--help").out
