"""A recipe that trains in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.learning import recipe
from agent.learning.recipe import Recipe
from agent.learning.train import Training, begin

SMALL: dict[str, Any] = {
    "frames": 300,
    "episode": 50,
    "held_out": 0.3,
    "model.width": 16,
    "model.predictor_width": 16,
    "learn.updates_per_frame": 0.05,
    "learn.batch": 16,
    "learn.moments": 2,
    "evaluate.every": 150,
    "evaluate.goals.starts": 2,
    "evaluate.goals.ahead": [4],
    "run.planner.horizon": 5,
    "run.planner.budget": {"evaluations": 8},
    "run.planner.params": {"iterations": 2, "elites": 3},
}
REWARDS: dict[str, Any] = {
    "task": "InvertedPendulum-v5",  # its episodes are short, as it falls
    "frames": 300,
    "episode": 50,
    "held_out": 0.3,
    "warm_up": 2,
    "model.predictor_width": 16,
    "learn.updates_per_frame": 0.02,
    "learn.batch": 16,
    "learn.moments": 2,
    "actor_critic": {
        "critic": {"width": 16},
        "policy": {"width": 16},
        "batch": 16,
        "updates_per_frame": 0.1,
        "interval": 0.1,
    },
    "evaluate.every": 300,
    "evaluate.returns.episodes": 2,
    "run.planner.budget": {"evaluations": 24},
}


@pytest.fixture
def small() -> Recipe:
    return recipe.load("quickstart", SMALL)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished training; tests must not write to it."""
    path = tmp_path_factory.mktemp("whole") / "run"
    to_the_end(begin(recipe.load("quickstart", SMALL), path))
    return path


def to_the_end(training: Training) -> None:
    while not training.finished:
        training.cycle()
