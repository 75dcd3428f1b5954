"""What a search believes about good plans, and how it learns that from ranked candidates.

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
    """What a search believes about good plans, in knots."""

    mean: np.ndarray  # (P,A)
    std: np.ndarray  # (P,A)
    elites: np.ndarray  # (K,P,A), K >= 0: plans worth keeping
    scores: Scores | None = None  # of the elites; None where this plan has not evaluated them


def around(distribution: Distribution, noise: np.ndarray) -> np.ndarray:
    """Candidates mean + std * noise of noise (N,P,A), in its place."""
    noise *= distribution.std
    noise += distribution.mean
    return noise


@lru_cache(maxsize=64)
def split(total: int, iterations: int, decay: float = 1.0, minimum: int = 1) -> tuple[int, ...]:
    """Sizes that sum to `total`, each `decay` times smaller than the one before it.

    There are fewer iterations where the average size would fall below `minimum`, because a distribution cannot be
    fitted to few candidates.
    """
    iterations = max(1, min(iterations, total // minimum))
    share = list(accumulate(decay**-index for index in range(iterations)))
    edges = [round(total * part / share[-1]) for part in share]
    return tuple(size for size in map(sub, edges, [0, *edges]) if size > 0)


def elites(knots: np.ndarray, scores: Scores, count: int) -> tuple[np.ndarray, Scores]:
    """The best `count` candidates, best first, (K,P,A) with K <= count: no unsound ones, nor NaN margins."""
    chosen = order(scores)[:count]
    if len(chosen) and not isfinite(scores.violation[chosen[-1]]):  # the last of them, if anyone, is not sound
        chosen = chosen[np.isfinite(scores.violation[chosen])]
    return knots.take(chosen, 0), scores.take(chosen)


def moments(knots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (P,A) over candidates (K,P,A), faster than numpy's `mean` and `std`."""
    mean = np.add.reduce(knots, 0) / len(knots)
    squares = knots - mean
    squares *= squares
    return mean, np.sqrt(np.add.reduce(squares, 0) / len(knots))


def pool(distribution: Distribution, knots: np.ndarray, scores: Scores) -> tuple[np.ndarray, Scores]:
    """Candidates together with the kept elites, which need no second evaluation within one plan."""
    old = distribution.scores
    if old is None or len(old) == 0:
        return knots, scores
    merged = Scores(np.concatenate([old.violation, scores.violation]), np.concatenate([old.cost, scores.cost]))
    return np.concatenate([distribution.elites, knots]), merged


def softmin(scores: Scores, temperature: float) -> np.ndarray | None:
    """(N,), sum 1: exp(-(cost - least) / lambda) of the feasible candidates, 0 for all others.

    Where nothing is feasible, the scaled violation replaces the cost: the mean moves towards safety.
    lambda is `temperature` times the spread (median - least) of what is weighted: invariant to the scale and
    offset of costs, and unmoved by a few outliers. None where nothing is sound.
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
    # No spread: at least half of the candidates are equally good, and share the weight.
    out[counts] = np.exp(-excess / scale) if scale > 0 else excess == 0
    return out / out.sum()


def weighted_mean(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum over candidates of weight (N,) times values (N,P,A): (P,A)."""
    return np.tensordot(weight, values, 1)
