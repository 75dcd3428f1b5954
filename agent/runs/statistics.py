"""Means and rates with 95 % intervals, over episodes.

A mean has Student's t interval, a rate has Wilson's. A percentile bootstrap of three seeds covers the mean of normal
values in 75 % of cases, t in 95 % (docs/adr/011-t-intervals-for-returns.md). One episode tells nothing about the
spread: its mean has low = high = null. Of values between known bounds, such as returns of rewards in [0,1], a few tell
nothing about rare failures that they do not hold; `bounded_mean` allows for those, and t does not
(docs/adr/013-intervals-of-bounded-returns.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from agent.rollouts.row import Row

LEVEL = 0.95
_DRAWS = 200_000  # uniform numbers that bound the mean of n values, n at a time, at least 1,000 times


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
    """The mean of independent values with its t interval; without one where a value is not finite."""
    return mean_of_means([values])


def bounded_mean(values: Sequence[float], lowest: float, highest: float) -> Estimate:
    """The mean of independent values in [lowest, highest] with the interval of Learned-Miller and Thomas.

    "A New Confidence Interval for the Mean of a Bounded Random Variable", arXiv 1905.06208 (2019), section 3: whatever
    lies between two neighbouring values is counted at the one nearer to the bound, with the weights that sorted uniform
    numbers leave to it. Of equal values at a bound it is Clopper's and Pearson's. Raises ValueError for a value outside
    the bounds.
    """
    sample = np.sort(np.asarray(values, dtype=np.float64))
    if not len(sample) or not np.isfinite(sample).all():
        return mean(values)
    if sample[0] < lowest or sample[-1] > highest:
        raise ValueError(f"bounded_mean: {sample[0]:g} to {sample[-1]:g} given, allowed: {lowest:g} to {highest:g}")
    n = len(sample)
    draws = _sorted_uniforms(n)

    def upper(ordered: np.ndarray, bound: float) -> float:
        gaps = np.diff(np.append(ordered, bound))
        return float(np.quantile(bound - draws @ gaps, (1 + LEVEL) / 2))

    low = lowest + highest - upper(lowest + highest - sample[::-1], highest)
    return Estimate(float(sample.mean()), low, upper(sample, highest), n)


@lru_cache(maxsize=8)
def _sorted_uniforms(n: int) -> np.ndarray:
    """Rows of n sorted uniform numbers, the same each time; read-only, as all callers share it."""
    drawn = np.sort(np.random.default_rng(0).random((max(_DRAWS // n, 1_000), n)), axis=1)
    drawn.flags.writeable = False
    return drawn


def mean_of_means(groups: Sequence[Sequence[float]]) -> Estimate:
    """The mean of the groups' means, groups weighing the same; within and between groups, values are independent.

    The degrees of freedom are those of Welch and Satterthwaite (Satterthwaite, "An Approximate Distribution of
    Estimates of Variance Components", Biometrics Bulletin 2, 1946, equation 17). No interval where a group has one
    value only, or one is not finite.
    """
    from scipy.special import stdtrit

    samples = [np.asarray(values, dtype=np.float64) for values in groups]
    n = sum(map(len, samples))
    if not samples or not all(map(len, samples)):
        return Estimate(math.nan, None, None, n)
    with np.errstate(invalid="ignore", over="ignore"):
        centre = float(np.mean([sample.mean() for sample in samples]))
    if any(len(sample) == 1 or not np.isfinite(sample).all() for sample in samples):
        return Estimate(centre, None, None, n)
    parts = np.array([sample.var(ddof=1) / len(sample) for sample in samples])
    if not parts.any():
        return Estimate(centre, centre, centre, n)
    shares = parts / parts.sum()
    freedom = 1 / np.sum(shares**2 / [len(sample) - 1 for sample in samples])
    half = float(stdtrit(freedom, (1 + LEVEL) / 2) * math.sqrt(parts.sum()) / len(samples))
    return Estimate(centre, centre - half, centre + half, n)


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
