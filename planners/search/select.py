"""The selection rule: one order of candidates for every planner, which nothing can override.

Valid candidates come before invalid ones, and feasible ones before infeasible ones. Feasible candidates are ordered by
cost, infeasible ones by scaled violation first. This is the lexicographic order of (violation, cost), because the
violation is 0 for every feasible candidate and +inf for every invalid one.
Every candidate is judged by its own margins; margins of different candidates are never averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planners.problem import Evaluation


@dataclass(frozen=True)
class Scores:
    """The keys by which N candidates are ordered. Invalid and diverged candidates have +inf in both."""

    violation: np.ndarray  # (N,) float64, worst scaled violation, >= 0
    cost: np.ndarray  # (N,) float64

    def __len__(self) -> int:
        return len(self.cost)

    @property
    def feasible(self) -> np.ndarray:
        """(N,) bool."""
        return self.violation == 0

    def key(self, index: int) -> tuple[float, float]:
        """The candidate's sort key, comparable with `<` across all evaluations of one problem."""
        return float(self.violation[index]), float(self.cost[index])

    def take(self, index: np.ndarray) -> Scores:
        """The scores at `index` (K,)."""
        return Scores(self.violation.take(index), self.cost.take(index))


def scores(evaluation: Evaluation) -> Scores:
    """The scores of an evaluation."""
    return Scores(*evaluation.judged)


def order(values: Scores) -> np.ndarray:
    """All indices (N,), best first; ties keep the order of the candidates."""
    return np.lexsort((values.cost, values.violation))


def first(values: Scores) -> int:
    """Index of the best candidate, `order(values)[0]`. Raises ValueError if there are no candidates."""
    if len(values) == 0:
        raise ValueError("planners.search.select: 0 candidates given, allowed: >= 1")
    if np.count_nonzero(values.violation):
        return int(order(values)[0])
    return int(values.cost.argmin())  # all are feasible: the same result, faster
