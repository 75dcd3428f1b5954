"""Notices about behaviour that a user may not expect: another planner's parameters, fewer frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.config.load import load
from agent.runs.rundir import RunDir

PRESET = {"knots": 30, "iterations": 5, "std": 0.8, "beta": 1.0}  # of cartpole, whose planner is icem


def loaded(overrides: Mapping[str, Any], source: str = "cartpole") -> tuple[Any, list[str]]:
    """The planner's parameters, and the notices."""
    told: list[str] = []
    return load(source, overrides=overrides, tell=told.append).planner.params, told


@pytest.mark.parametrize(
    ("overrides", "params", "told"),
    [
        (
            {"planner.kind": "mppi"},
            PRESET,
            "planner mppi: of the parameters for icem, kept knots, iterations, std, beta",
        ),
        (
            {"planner.kind": "gradient"},
            {"knots": 30, "std": 0.8, "beta": 1.0},
            "planner gradient: of the parameters for icem, kept knots, std, beta; dropped iterations",
        ),
        (
            {"planner.kind": "dijkstra"},
            {},
            "planner dijkstra: of the parameters for icem, dropped knots, iterations, std, beta",
        ),
        (
            {"planner.kind": "mppi", "planner.params": {"std": 0.2}},
            {"std": 0.2},
            "planner mppi: of the parameters for icem, dropped knots, iterations, std, beta",
        ),
    ],
)
def test_another_planner_keeps_what_means_the_same_to_it(
    overrides: dict[str, Any], params: dict[str, Any], told: str
) -> None:
    assert loaded(overrides) == (params, [told])


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_given_beside_the_kind_is_never_dropped(order: int) -> None:
    """The order does not matter; a parameter that the planner lacks is refused when the agent is built."""
    given = {"planner.params.elites": 7, "planner.kind": "mppi", "planner.horizon": 9}
    overrides = dict(list(given.items())[::order])
    assert loaded(overrides)[0] == {**PRESET, "elites": 7}
    assert load("cartpole", overrides=overrides).planner.horizon == 9


def test_nothing_is_told_where_nothing_changes() -> None:
    assert loaded({"planner.kind": "icem"}) == (PRESET, [])
    assert loaded({"planner.kind": "mppi"}, "finger")[1] != []


def test_a_file_that_names_another_planner_keeps_them_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: cartpole\nplanner: {kind: cem}\n")
    assert loaded({}, str(file))[0] == {"knots": 30, "iterations": 5, "std": 0.8}
    file.write_text("extends: cartpole\nplanner: {kind: cem, params: {elites: 5}}\n")
    assert loaded({}, str(file))[0] == {"elites": 5}


def test_the_command_says_so_once_the_run_begins(
    telos: Callable[..., Any], config_file: Path, tmp_path: Path, fast: None
) -> None:
    small = ("--episodes=1", "--frames=2", "--video=false", "--out", tmp_path / "run")
    done = telos("run", config_file, "--planner", "mppi", *small)
    assert done.status == 0
    assert done.err.splitlines()[0] == "planner mppi: of the parameters for icem, kept knots, iterations"
    refused = telos("run", config_file, "--planner", "mppi", "--planner.params.keep=0.1", "--out", tmp_path / "other")
    assert refused.status == 2
    assert refused.err.startswith("telos: planner.params: given 'keep'"), "the failure, and nothing else"


def test_frames_beyond_the_task_s_limit(telos: Callable[..., Any], tmp_path: Path, fast: None) -> None:
    out = tmp_path / "run"
    small = ("--planner.horizon=2", "--planner.budget.evaluations=2", "--planner.params={}", "--video=false")
    arguments = ("--task", "Reacher-v5", "--frames=5000", *small, "--out", out)
    done = telos("run", *arguments)
    assert done.status == 0, done.err
    assert "frames: given 5000, and an episode of Reacher-v5 has at most 50: 50 are run" in done.err
    rundir = RunDir.open(out)
    assert rundir.config.frames == rundir.rows()[0].env_frames == 50
    assert "going on with it" in telos("run", *arguments).err, "the same command means the same run"
