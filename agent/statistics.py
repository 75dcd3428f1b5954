"""Means and rates with 95 % intervals, over episodes.

A mean has a percentile bootstrap interval (10,000 resamples, fixed seed, so the same rows give the same
interval), a rate has Wilson's. One episode tells nothing about the spread: its mean has low = high = null.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.row import Row

LEVEL = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A number and how well it is known."""

    mean: float
    low: float | None  # of the 95 % interval; None where n or the values do not allow one
    high: float | None
    n: int

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.mean:.4g}{interval}"


def mean(values: Sequence[float]) -> Estimate:
    """The mean with its bootstrap interval; not finite, and without one, where any value is not finite."""
    sample = np.asarray(values, dtype=np.float64)
    n = len(sample)
    if n == 0:
        return Estimate(math.nan, None, None, 0)
    if n == 1 or not np.isfinite(sample).all():
        with np.errstate(invalid="ignore"):
            return Estimate(float(sample.mean()), None, None, n)
    draws = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    tails = 50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL)
    low, high = np.percentile(sample[draws].mean(1), tails)
    return Estimate(float(sample.mean()), float(low), float(high), n)


def rate(hits: int, n: int) -> Estimate:
    """The rate `hits / n` with its Wilson interval."""
    if n == 0:
        return Estimate(math.nan, None, None, 0)
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Estimate(hits / n, float(interval.low), float(interval.high), n)


def summarise(rows: Sequence[Row]) -> dict[str, Estimate]:
    """Every numeric field's mean over episodes, and the rates of episodes that …

    `violation_rate`: had at least one violating step; `intervention_rate`: saw the gate intervene;
    `terminated_rate`: ended before their time. Steps of one episode are not independent, so no rate
    is over steps.
    """
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.numbers().items():
            columns.setdefault(name, []).append(value)
    n = len(rows)
    return {name: mean(values) for name, values in columns.items()} | {
        "violation_rate": rate(sum(row.violation_steps > 0 for row in rows), n),
        "intervention_rate": rate(sum(row.interventions > 0 for row in rows), n),
        "terminated_rate": rate(sum(row.terminated for row in rows), n),
    }
