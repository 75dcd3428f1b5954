"""The ablation of the goal recipe: every arm is a recipe that trains, and rows say what became of its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness import rows
from benchmarks.worldmodels import ablation
from tests.learning.conftest import SMALL

pytestmark = pytest.mark.xdist_group("learned ablation")
FEW = {name: value for name, value in SMALL.items() if not name.startswith("evaluate.goals")} | {
    "evaluate.goals.starts": 2,
    "evaluate.goals.ahead": [12],
}


@pytest.mark.parametrize("arm", ablation.ARMS)
def test_every_arm_is_a_recipe(arm: str) -> None:
    asked = ablation.asked_of(arm, 3, {})
    assert asked.seed == 3
    assert (asked == ablation.asked_of("full", 3, {})) == (arm in ("full", *ablation.UNTRAINED))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "ablation.jsonl"
    ablation.measure(out, ["full", "without reach", "random"], [0, 1], FEW)
    return out


def test_rows_say_what_became_of_the_model(measured: Path) -> None:
    found = rows.read(measured)
    assert [(row["arm"], row["seed"]) for row in found] == [
        *(("full", 0), ("without reach", 0), ("random", 0)),
        *(("full", 1), ("without reach", 1)),
    ]
    assert all({"std_least", "rank", "probe_r2", "alarms"} <= row.keys() for row in found if row["arm"] != "random")
    assert all(row["elsewhere_reached"] <= row["elsewhere"] <= row["starts"] == 2 for row in found)


def test_the_table_has_a_line_for_each_arm(measured: Path) -> None:
    lines = ablation.table(rows.read(measured)).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| full", "| without reach", "| random"]


def test_corridors_are_told_apart_by_the_walls() -> None:
    from envs import registry

    model = registry.load(str(ablation.WALLS / "walls.yaml")).spec().compile()
    assert tuple(float(model.geom(name).pos[0]) for name in ("left", "right")) == ablation.INNER
