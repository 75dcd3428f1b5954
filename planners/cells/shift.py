"""Edge costs shifted by the smallest possible cost of a step, so that graph searches see no negative costs."""

from __future__ import annotations

import numpy as np

from planners.problem import Unsuited

ROUNDING = 1e-9  # tolerated relative rounding error of sums of costs


def shifted(cost: np.ndarray, counted: np.ndarray, steps: int, most_reward: float) -> np.ndarray:
    """Costs of edges (N,), minus the smallest cost that their steps can have: non-negative where counted.

    Args:
        cost: (N,), of whole edges.
        counted: (N,) bool, the edges that may be followed.
        steps: control steps of an edge.
        most_reward: largest reward of a control step: minus its smallest possible cost.

    Raises:
        Unsuited: a counted edge costs less than `most_reward` allows.
    """
    above = cost + most_reward * steps
    if (above[counted] < -ROUNDING * (1 + most_reward) * steps).any():
        smallest = cost[counted].min() / steps
        allowed = f"at least {-smallest:g}, as there are steps that cost {smallest:g}"
        raise Unsuited(f"most_reward: {most_reward} given, allowed: {allowed}")
    return np.maximum(above, 0.0)
