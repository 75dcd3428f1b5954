"""Which candidate goes out: one order for every planner, which nothing can override.

The order is valid -> feasible -> (if nothing is feasible: least scaled violation) -> cost. With a violation
of 0 for every feasible candidate and +inf for every invalid one, it is the lexicographic order of
(violation, cost).
Every candidate is judged by its own margins; margins of different candidates are never averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planners.problem import Evaluation


@dataclass(frozen=True)
class Scores:
    """What the order reads of N candidates. Unsound candidates have +inf in both."""

    violation: np.ndarray  # (N,) float64, worst scaled violation, >= 0
    cost: np.ndarray  # (N,) float64

    def __len__(self) -> int:
        return len(self.cost)

    @property
    def feasible(self) -> np.ndarray:
        """(N,) bool."""
        return self.violation == 0

    def key(self, index: int) -> tuple[float, float]:
        """The candidate's place in the order, comparable with `<` across evaluations of one problem."""
        return float(self.violation[index]), float(self.cost[index])

    def take(self, index: np.ndarray) -> Scores:
        """The scores at `index` (K,)."""
        return Scores(self.violation.take(index), self.cost.take(index))


def scores(evaluation: Evaluation) -> Scores:
    """Read an evaluation."""
    return Scores(*evaluation.judged)


def order(values: Scores) -> np.ndarray:
    """All indices (N,), best first; ties keep the order in which candidates were given."""
    return np.lexsort((values.cost, values.violation))


def first(values: Scores) -> int:
    """`order(values)[0]`. Raises ValueError when there are no candidates."""
    if len(values) == 0:
        raise ValueError("planners.search.select: 0 candidates given, allowed: >= 1")
    if np.count_nonzero(values.violation):
        return int(order(values)[0])
    return int(values.cost.argmin())  # the same, sooner
