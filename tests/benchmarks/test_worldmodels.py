"""The benchmarks of world models: they measure each row once, and their arms are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.learning import evaluate, recipe
from agent.learning.prepare import world_of
from benchmarks.harness import rows
from benchmarks.worldmodels import goals, worldmodels
from tests.learning.conftest import SMALL

pytestmark = pytest.mark.xdist_group("worldmodels")  # one process measures what all of these tests read
FEW: dict[str, Any] = {**SMALL, "evaluate.goals.starts": 3}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "goals.jsonl"
    goals.measure(out, goals.ARMS, [0, 1], FEW)
    return out


def test_every_arm_has_a_row_for_each_seed_and_distance(measured: Path) -> None:
    found = rows.read(measured)
    wanted = {(arm, seed, 4) for arm in goals.ARMS for seed in ((0,) if arm in goals.UNTRAINED else (0, 1))}
    assert {(row["arm"], row["seed"], row["ahead"]) for row in found} == wanted
    assert all(row["starts"] == len(row["each"]) == 3 for row in found)
    assert all("train_seconds" in row for row in found if row["arm"] not in ("pd", "random"))


def test_what_is_measured_is_not_measured_again(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goals, "arm", None)
    before = measured.read_bytes()
    goals.measure(measured, goals.ARMS, [0, 1], FEW)
    assert measured.read_bytes() == before


def test_the_table_counts_over_seeds(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert worldmodels.main(["--table", "--only", "goals", "--out", str(measured.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == list(goals.ARMS)
    assert [goals.ARMS[i] for i, line in enumerate(lines) if "(k = 2)" not in line] == list(goals.UNTRAINED)


def test_the_controller_reaches_poses(tmp_path: Path) -> None:
    config, attempts, _ = goals.arm("pd", 0, {}, {})
    world, _ = world_of(config)
    settings = recipe.load(goals.RECIPE, {"evaluate.goals.starts": 10}).evaluate.goals
    score = evaluate.score(world, attempts, settings, 50, 3)
    assert score.success.mean >= 0.8
    floor = evaluate.score(world, goals.arm("random", 0, {}, {})[1], settings, 50, 3)
    assert floor.success.mean <= 0.2


def test_the_metric_is_the_distance_of_what_the_encoder_sees() -> None:
    """On the world's own observations, encoded directly, it gives the same numbers."""
    import torch

    from agent import build
    from worldmodels.belief import Belief

    config = goals.oracle(recipe.load(goals.RECIPE).config(""))
    world, _ = world_of(config)
    percept = world.reset(5)
    metric = goals.Metric(lambda seen: seen, torch.zeros(6))
    model = build.world_model(config, world.env.task, world.env.interface, metric.requests)
    assert world.snapshot is not None
    actions = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 3, 2)))
    imagined = model.imagine(Belief.at(world.snapshot), actions)
    found = metric.step_cost(imagined, world.snapshot.params)[0]
    for step, action in enumerate(actions[0].numpy()):
        percept, _ = world.step(action)
        seen = np.concatenate([percept.observation["position"], percept.observation["velocity"]])
        assert float(found[step]) == pytest.approx(np.linalg.norm(seen), rel=1e-5)
