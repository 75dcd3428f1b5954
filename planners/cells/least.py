"""Costs counted above the least that a control step can cost, so that searches over graphs have none below zero."""

from __future__ import annotations

import numpy as np

from planners.problem import Unsuited

ROUNDING = 1e-9  # relative; what sums of costs may be off


def above_least(cost: np.ndarray, counted: np.ndarray, steps: int, most_reward: float) -> np.ndarray:
    """Costs (N,) of edges, minus the least that their steps can cost: >= 0 where counted.

    Args:
        cost: (N,), of whole edges.
        counted: (N,) bool, the edges that may be followed.
        steps: control steps of an edge.
        most_reward: of a control step, minus its least possible cost.

    Raises Unsuited where an edge that counts earned more than it should be able to.
    """
    above = cost + most_reward * steps
    if (above[counted] < -ROUNDING * (1 + most_reward) * steps).any():
        least = cost[counted].min() / steps
        allowed = f"at least {-least:g}, as there are steps that cost {least:g}"
        raise Unsuited(f"most_reward: {most_reward} given, allowed: {allowed}")
    return np.maximum(above, 0.0)
