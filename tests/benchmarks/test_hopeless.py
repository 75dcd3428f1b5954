"""The steps saved by stopping hopeless candidates, checked step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.rollouts.rollouts import Serial
from benchmarks import hopeless
from benchmarks.harness import experiment, rows
from envs.errors import TelosError


@pytest.mark.parametrize("seed", range(5))
def test_who_would_be_kept_is_never_given_up(seed: int) -> None:
    """Checked candidate by candidate and step by step: no candidate that is kept is ever hopeless."""
    rng = np.random.default_rng(seed)
    batches = [rng.random((10, 8)) * (seed % 2) - rng.random((10, 8)) * (rng.random((10, 1)) < 0.7) for _ in range(3)]
    kept, least, known, expected = 4, -1.0, [], 0
    for costs in batches:
        known += costs.sum(1).tolist()
        last = sorted(known)[kept - 1]
        for row in costs:
            hopeless_at = [t for t in range(7) if row[: t + 1].sum() + least * (7 - t) > last + 1e-9 * (1 + abs(last))]
            expected += 7 - hopeless_at[0] if hopeless_at else 0
            assert row.sum() > last or not hopeless_at
    assert hopeless.spared(batches, kept, least) == expected
    assert expected > 0


def test_a_search_that_keeps_all_spares_nothing() -> None:
    assert hopeless.spared([np.random.default_rng(0).random((4, 5))], 4, -1.0) == 0


def test_a_candidate_that_earns_nothing_is_hopeless_at_once() -> None:
    costs = np.zeros((3, 10))
    costs[0] = -1.0
    assert hopeless.spared([costs], 1, -1.0) == 2 * 9


def test_rows_of_real_episodes(tmp_path: Path) -> None:
    (case,) = hopeless.cases(["pendulum-swingup"], 1, 1, 500)
    short = experiment.Case(case.labels, case.config.model_copy(update={"frames": 4}), case.player)
    experiment.measure([short], tmp_path / "rows.jsonl", Serial(), hopeless.share)
    (row,) = rows.read(tmp_path / "rows.jsonl")
    assert 0 <= row["spared"] < 1
    assert row["decisions"] == 4
    assert f"| pendulum-swingup | {row['spared']:.1%} |" in hopeless.table([row])
    with pytest.raises(TelosError, match="cartpole-swingup, whose preset has guardrails"):
        hopeless.cases(["cartpole-swingup"], 1, 1, 500)
