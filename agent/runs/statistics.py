"""Means and rates over episodes, with 95 % confidence intervals.

Means have Student's t interval, rates have Wilson's. With three seeds of normally distributed values, a percentile
bootstrap covers the mean in 75 % of cases and the t interval in 95 % (docs/adr/011-t-intervals-for-returns.md). One
episode says nothing about the spread, so its mean has low = high = null.

A small sample of bounded values, such as returns of rewards in [0,1], may contain none of the rare failures.
`bounded_mean` allows for them, and the t interval does not (docs/adr/013-intervals-of-bounded-returns.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from agent.rollouts.row import Row

LEVEL = 0.95
_DRAWS = 200_000  # uniform numbers in all that `bounded_mean` draws, n for each of at least 1,000 Monte Carlo samples


@dataclass(frozen=True)
class Estimate:
    """A mean or a rate, with its 95 % interval."""

    mean: float
    low: float | None  # of the 95 % interval; None if n or the values do not allow one
    high: float | None
    n: int

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.mean:.4g}{interval}"


def mean(values: Sequence[float]) -> Estimate:
    """The mean of independent values with its t interval; no interval if a value is not finite or there is only one."""
    return mean_of_means([values])


def bounded_mean(values: Sequence[float], lowest: float, highest: float) -> Estimate:
    """The mean of independent values in [lowest, highest] with the interval of Learned-Miller and Thomas.

    Source: "A New Confidence Interval for the Mean of a Bounded Random Variable", arXiv 1905.06208 (2019), section 3.
    The upper limit is a quantile of random weighted means: sorted uniform numbers divide the probability among the gaps
    between neighbouring values, and each gap's probability is placed at its upper end. The lower limit is the mirror
    image. If all values equal one bound, it is the Clopper-Pearson interval.

    Raises:
        ValueError: a value is outside the bounds.
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
    """Rows of n sorted uniform numbers, the same in every call; read-only, because all callers share the array."""
    drawn = np.sort(np.random.default_rng(0).random((max(_DRAWS // n, 1_000), n)), axis=1)
    drawn.flags.writeable = False
    return drawn


def mean_of_means(groups: Sequence[Sequence[float]]) -> Estimate:
    """The equally weighted mean of the groups' means, with its Welch t interval; all values are independent.

    The degrees of freedom are those of Welch and Satterthwaite (Satterthwaite, "An Approximate Distribution of
    Estimates of Variance Components", Biometrics Bulletin 2, 1946, equation 17). There is no interval if a group has
    only one value, or a value is not finite.
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
    """The rate `hits / n` with its Wilson interval; NaN without an interval if n is 0."""
    if n == 0:
        return Estimate(math.nan, None, None, 0)
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Estimate(hits / n, float(interval.low), float(interval.high), n)


def summarise(rows: Sequence[Row]) -> dict[str, Estimate]:
    """The mean of every numeric field over episodes, and three rates of episodes.

    `violation_rate`: episodes with at least one violating step. `intervention_rate`: episodes in which the gate
    intervened. `terminated_rate`: episodes that the environment terminated before the time limit. No rate is over
    steps, because the steps of one episode are not independent.
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
