"""`telos train` from rewards, from the command line: what it says, its report, and a run with what it learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.runs.rundir import RunDir
from tests.learning.conftest import REWARDS
from worldmodels.checkpoint import Checkpoint

pytestmark = pytest.mark.xdist_group("train from rewards")


@pytest.fixture(scope="module")
def training(telos: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A training's directory, and what the command printed."""
    path = tmp_path_factory.mktemp("rewarded") / "pole"
    given = {**REWARDS, "evaluate.returns.episodes": 1}
    flags = [word for key, value in given.items() for word in (f"--{key}", yaml.safe_dump(value).split("\n...")[0])]
    done = telos("train", "rewards", *(flag.strip() for flag in flags), "--out", path)
    assert done.status == 0, done.err
    return path, done


def test_the_console_says_what_was_earned(training: tuple[Path, Any]) -> None:
    lines = training[1].err.splitlines()
    assert lines[1].startswith("random: return ")
    assert [line.split()[5] for line in lines if "return of the" in line] == ["policy", "planner"]


def test_the_report_shows_returns_and_no_goals(training: tuple[Path, Any]) -> None:
    text = (training[0] / "report.html").read_text()
    assert text.count("data:image/png") == 2  # returns and horizon; an encoder that does not learn cannot collapse
    assert "collapsed" not in text
    assert "Return, policy alone" in text
    assert "Returns against frames and minutes" in text
    assert "steps ahead" not in text


def test_a_run_earns_with_what_was_learned(
    telos: Callable[..., Any], training: tuple[Path, Any], tmp_path: Path
) -> None:
    """The planner gets reward, critic and proposals from the checkpoint, and the configuration says so."""
    path = training[0]
    done = telos("run", "--model", path, "--frames", "12", "--out", tmp_path / "run")
    assert done.status == 0, done.err
    run = RunDir.open(tmp_path / "run")
    (row,) = run.rows()
    assert row.model_sha256 == Checkpoint.read(path).sha256
    assert (run.config.planner.horizon, run.config.planner.replan_every) == (6, 2)
    assert run.config.cost.learned == 1.0
    assert 0 < row.env_frames <= 12
