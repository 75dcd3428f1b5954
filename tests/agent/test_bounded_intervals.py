"""Intervals of bounded means cover the true mean of hard-to-estimate returns; Student's t intervals do not."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from agent.runs import statistics
from agent.runs.statistics import Estimate, bounded_mean

SUITE = Path(__file__).parents[2] / "benchmarks" / "results" / "planners" / "suite.jsonl"
FRAMES = 1_000
EXPERIMENTS = 60  # of each task


def thirty_seeds() -> dict[str, np.ndarray]:
    """Returns of random actions by task, 30 seeds each."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in SUITE.read_text().splitlines():
        row = json.loads(line)
        if row["planner"] == "random":
            found[row["task"]].append(row["return"])
    return {task: np.array(values) for task, values in found.items() if len(values) == 30}


def coverage(values: np.ndarray, n: int, interval: Callable[[Sequence[float]], Estimate]) -> float:
    """The share of intervals, each from n of the values, that contain the mean of all values."""
    rng, truth, hits = np.random.default_rng(0), values.mean(), 0
    for _ in range(EXPERIMENTS):
        found = interval(rng.choice(values, n).tolist())
        assert found.low is not None
        assert found.high is not None
        hits += found.low - 1e-9 <= truth <= found.high + 1e-9
    return hits / EXPERIMENTS


@pytest.mark.parametrize("n", [3, 5])
def test_it_covers_every_task_of_the_suite(n: int) -> None:
    tasks = thirty_seeds()
    assert len(tasks) == 21
    covered = {task: coverage(values, n, lambda x: bounded_mean(x, 0.0, FRAMES)) for task, values in tasks.items()}
    assert min(covered.values()) >= 0.95, min(covered, key=lambda task: covered[task])


def test_t_does_not() -> None:
    """Student's t fails because a few values often miss rare successes (or, for planners, rare failures)."""
    sparse = thirty_seeds()["dm_control/ball_in_cup-catch-v0"]
    assert coverage(sparse, 5, statistics.mean) < 0.5


@pytest.mark.parametrize("n", [1, 3, 5, 30])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_values_at_a_bound_have_clopper_s_and_pearson_s(n: int, value: float) -> None:
    hits = round(value * n)
    low, high = beta.ppf(0.025, hits, n - hits + 1), beta.ppf(0.975, hits + 1, n - hits)
    found = bounded_mean([value] * n, 0.0, 1.0)
    assert found.low == pytest.approx(0.0 if np.isnan(low) else low, abs=0.01)
    assert found.high == pytest.approx(1.0 if np.isnan(high) else high, abs=0.01)


def test_it_is_the_same_seen_from_the_other_bound() -> None:
    values = [1.0, 2.0, 7.0]
    one, other = bounded_mean(values, 0.0, 10.0), bounded_mean([10 - value for value in values], 0.0, 10.0)
    assert (one.low, one.high) == pytest.approx((10 - (other.high or 0), 10 - (other.low or 0)))


def test_many_values_have_a_narrow_one() -> None:
    found = bounded_mean(np.random.default_rng(0).uniform(0, 1, 2_000).tolist(), 0.0, 1.0)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low < 0.05


def test_values_outside_the_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 1001 given, allowed: 0 to 1000"):
        bounded_mean([0.0, 1001.0], 0.0, FRAMES)


def test_without_values_there_is_no_interval() -> None:
    assert bounded_mean([], 0.0, 1.0).low is None
    assert bounded_mean([float("nan"), 0.5], 0.0, 1.0).low is None
