"""Discrete action sets: all combinations of evenly spaced values in [-1,1] per dimension.

E actions of a set, A action size, h control steps.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from planners.problem import Unsuited

MAX_ACTIONS = 1000  # largest set, as a search tries every action


def action_set(per_dimension: int, size: int) -> np.ndarray:
    """All E = per_dimension^A actions, (E,A) in [-1,1], sorted by norm so that ties go to the smallest action.

    Raises Unsuited if there are more than `MAX_ACTIONS`.
    """
    if per_dimension**size > MAX_ACTIONS:
        given = f"{per_dimension} with {size} dimensions, {per_dimension**size:,} actions,"
        raise Unsuited(f"actions_per_dimension: {given} given, allowed: at most {MAX_ACTIONS:,} actions")
    levels = np.linspace(-1.0, 1.0, per_dimension)
    actions = np.array(list(product(levels, repeat=size)))
    return actions[np.argsort(np.linalg.norm(actions, axis=1), kind="stable")]


class DiscreteActions:
    """A discrete action set, and which of its actions have been tried at each node."""

    def __init__(self, number: int, size: int) -> None:
        """Create the set of all combinations of `number` values from -1 to 1 in each of `size` dimensions.

        Raises Unsuited if there are more than `MAX_ACTIONS`.
        """
        self.grid = action_set(number, size)
        self.number = {row.tobytes(): index for index, row in enumerate(self.grid)}
        self.tried: dict[int, set[int]] = {}

    def take(self, node: int, edge: np.ndarray) -> None:
        """Record an edge (k,A) from `node`; edges outside the set, which references may have, are ignored."""
        if (edge == edge[0]).all() and (index := self.number.get(edge[0].tobytes())) is not None:
            self.tried.setdefault(node, set()).add(index)

    def exhausted(self, node: int) -> bool:
        """Whether all actions have been tried at `node`."""
        return len(self.tried.get(node, ())) == len(self.grid)

    def untried(self, node: int, rng: np.random.Generator) -> np.ndarray:
        """A random action that has not been tried at `node`, (A,)."""
        tried = self.tried.get(node, set())
        return self.grid[rng.choice([index for index in range(len(self.grid)) if index not in tried])]

    def nearest(self, actions: np.ndarray, hold: int) -> np.ndarray:
        """Round actions (h,A) to the set: every `hold` steps become the action nearest to their mean."""
        starts = np.arange(0, len(actions), hold)
        lengths = np.diff(np.append(starts, len(actions)))
        means = np.add.reduceat(actions, starts) / lengths[:, None]
        nearest = np.square(means[:, None] - self.grid).sum(2).argmin(1)
        return np.repeat(self.grid[nearest], lengths, 0)
