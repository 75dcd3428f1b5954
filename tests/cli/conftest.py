"""One short run shared by all tests of the command line, which call `main` in this process if possible."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.rollouts.row import Row, Steps, follows
from agent.runs.rundir import RunDir
from envs import render

render.prepare(video=True)  # before any test imports mujoco

CONFIG = """\
task: dm_control/cartpole-swingup-v0
episodes: 3
frames: 20
threads: 1
planner: {kind: icem, horizon: 8, budget: {evaluations: 12}, params: {knots: 4, iterations: 2}}
guardrails:
  - {kind: joint_position, name: rail, joint: slider, lower: -1.0, upper: 1.0, unit: m, scale: 0.1}
  - {kind: joint_velocity, name: slow, joint: slider, limit: 0.6, unit: m/s, scale: 0.1, tolerance: 0.05}
"""


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "short.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="session")
def finished(telos: Callable[..., Any], config_file: Path) -> Path:
    """A finished run; tests must not write to it."""
    path = config_file.parent / "finished"
    done = telos("run", config_file, "--out", path)
    assert done.status == 0, done.err
    assert done.out.strip() == str(path / "report.html")
    return path


def forged(run: Path, change: Callable[[Row, Steps], tuple[Row, Steps]]) -> RunDir:
    """Change a run's rows and steps and recompute every digest, as a forger would."""
    rundir = RunDir.open(run)
    kept = [change(row, rundir.steps(row.episode)) for row in rundir.rows()]
    rundir.rows_file.write_bytes(b"")
    for row, steps in kept:
        rundir.record(row, steps)
    return rundir


def following(row: Row, steps: Steps) -> tuple[Row, Steps]:
    """The steps, and the row with its derived fields recomputed from them."""
    return replace(row, **follows(steps, tuple(row.min_margin))), steps


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, for tests that change it."""
    return shutil.copytree(finished, tmp_path / "copy")
