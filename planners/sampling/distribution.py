"""The search distribution over action sequences, and its updates from evaluated candidates.

N candidates, P knots, A action size, K elites.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import isfinite
from operator import sub

import numpy as np

from planners.search.select import Scores, order


@dataclass(frozen=True, eq=False)
class Distribution:
    """Mean and standard deviation of every knot, with the elites that were kept."""

    mean: np.ndarray  # (P,A)
    std: np.ndarray  # (P,A)
    elites: np.ndarray  # (K,P,A), K >= 0: the best candidates that were kept, best first
    scores: Scores | None = None  # of the elites; None if they are from an earlier plan and not evaluated in this one


def around(distribution: Distribution, noise: np.ndarray) -> np.ndarray:
    """Candidates mean + std * noise, computed in place in `noise` (N,P,A)."""
    noise *= distribution.std
    noise += distribution.mean
    return noise


@lru_cache(maxsize=64)
def split(total: int, iterations: int, decay: float = 1.0, minimum: int = 1) -> tuple[int, ...]:
    """Sizes of iterations that sum to `total`, each `decay` times smaller than the one before it.

    The number of iterations is reduced if the average size would fall below `minimum`, because a distribution cannot be
    fitted to few candidates.
    """
    iterations = max(1, min(iterations, total // minimum))
    share = list(accumulate(decay**-index for index in range(iterations)))
    edges = [round(total * part / share[-1]) for part in share]
    return tuple(size for size in map(sub, edges, [0, *edges]) if size > 0)


def elites(knots: np.ndarray, scores: Scores, count: int) -> tuple[np.ndarray, Scores]:
    """The best `count` candidates, best first, (K,P,A) with K <= count.

    Candidates with an infinite violation (invalid, diverged, or with a margin that is not finite) are left out.
    """
    chosen = order(scores)[:count]
    if len(chosen) and not isfinite(scores.violation[chosen[-1]]):  # they are sorted: checking the last is enough
        chosen = chosen[np.isfinite(scores.violation[chosen])]
    return knots.take(chosen, 0), scores.take(chosen)


def moments(knots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (P,A) of candidates (K,P,A); faster than numpy's `mean` and `std`."""
    mean = np.add.reduce(knots, 0) / len(knots)
    squares = knots - mean
    squares *= squares
    return mean, np.sqrt(np.add.reduce(squares, 0) / len(knots))


def pool(distribution: Distribution, knots: np.ndarray, scores: Scores) -> tuple[np.ndarray, Scores]:
    """The candidates and the kept elites together; the elites keep the scores from earlier in this plan."""
    old = distribution.scores
    if old is None or len(old) == 0:
        return knots, scores
    merged = Scores(np.concatenate([old.violation, scores.violation]), np.concatenate([old.cost, scores.cost]))
    return np.concatenate([distribution.elites, knots]), merged


def softmin(scores: Scores, temperature: float) -> np.ndarray | None:
    """Softmin (Boltzmann) weights (N,), with sum 1: exp(-(cost - least) / lambda) if feasible, else 0.

    If no candidate is feasible, the scaled violation replaces the cost, so that the mean moves towards feasibility.
    lambda is `temperature` times (median - least) of the weighted costs. So the weights do not depend on the scale and
    offset of the costs, and a few outliers do not change lambda.
    None if every candidate has an infinite violation.
    """
    counts, value = scores.feasible, scores.cost
    if not counts.any():
        counts, value = np.isfinite(scores.violation), scores.violation
        if not counts.any():
            return None
    value = value[counts]
    excess = value - value.min()
    scale = temperature * np.partition(excess, len(excess) // 2)[len(excess) // 2]
    out = np.zeros(len(scores))
    # No spread: at least half of the candidates have the least cost; they share the weight equally.
    out[counts] = np.exp(-excess / scale) if scale > 0 else excess == 0
    return out / out.sum()


def weighted_mean(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum over candidates of weights (N,) times values (N,P,A), (P,A)."""
    return np.tensordot(weight, values, 1)
