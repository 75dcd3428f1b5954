"""The benchmark of trainings from rewards: each is measured once, and one that was interrupted goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.learning.train import Training
from benchmarks.harness import rows
from benchmarks.worldmodels import rewards
from tests.learning.conftest import REWARDS

pytestmark = pytest.mark.xdist_group("learned returns")
FEW = {**REWARDS, "evaluate.returns.episodes": 1}
TASK = "cartpole-swingup"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of a training that was stopped after two cycles, and then went on."""
    folder = tmp_path_factory.mktemp("bench")
    out, cycle = folder / "rows.jsonl", Training.cycle
    done = 0

    def stopping(self: Training) -> object:
        nonlocal done
        done += 1
        if done == 3:
            raise KeyboardInterrupt
        return cycle(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "cycle", stopping)
        with pytest.raises(KeyboardInterrupt):
            rewards.measure(out, [TASK], [0], folder / "work", FEW)
        assert not rows.read(out)
        before = done
        rewards.measure(out, [TASK], [0], folder / "work", FEW)
    assert done == before + FEW["frames"] // FEW["episode"] - 2  # the cycles that were done are not done again
    return out


def test_a_row_has_what_both_ways_to_act_earned(measured: Path) -> None:
    (row,) = rows.read(measured)
    assert set(row["returns"]) == {"planner", "policy", "random"}
    assert (row["task"], row["frames"], row["decisions"]) == (TASK, 300, 30)
    assert row["curve"][-1] == [300, {name: row["returns"][name]["mean"] for name in ("policy", "planner")}]


def test_what_is_measured_is_not_measured_again(measured: Path, tmp_path: Path) -> None:
    before = measured.read_bytes()
    rewards.measure(measured, [TASK], [0], tmp_path, FEW)
    assert measured.read_bytes() == before
    assert not any(tmp_path.iterdir())


def test_the_table_names_the_best_published_return(measured: Path) -> None:
    line = rewards.table(rows.read(measured)).splitlines()[2]
    assert line.startswith(f"| {TASK} | 1 | **")
    assert "| 880 |" in line
