"""A sparse set of points in a space of any dimension, each with the cheapest node found near it.

M landmarks, D size of an embedding.
"""

from __future__ import annotations

import numpy as np


class Landmarks:
    """Landmarks (the witnesses of SST), at least `radius` apart; a cheaper node replaces a landmark's representative.

    Landmarks themselves are never moved or removed.
    """

    def __init__(self, radius: float, size: int) -> None:
        """
        Args:
            radius: in the embedding's unit, > 0.
            size: D.
        """
        self.radius = radius
        self.node: list[int] = []  # (M,), representative of each landmark
        self._cost: list[float] = []  # (M,), of the path to the representative
        self._places = np.zeros((256, size))
        self._points = np.zeros((256, size))

    def __len__(self) -> int:
        return len(self.node)

    @property
    def places(self) -> np.ndarray:
        """The points of the landmarks, (M,D)."""
        return self._places[: len(self)]

    @property
    def points(self) -> np.ndarray:
        """The points of their representatives, (M,D)."""
        return self._points[: len(self)]

    @property
    def cost(self) -> np.ndarray:
        """The costs of the paths to their representatives, (M,)."""
        return np.array(self._cost)

    def offer(self, node: int, point: np.ndarray, cost: float) -> bool:
        """Offer a node at `point` (D,); return whether it becomes a representative.

        A node at least `radius` away from all landmarks becomes a new one. Any other node must be cheaper than the
        representative of the nearest landmark, which it then replaces.
        """
        if len(self):
            away = self.places - point
            distance = np.einsum("md,md->m", away, away)
            at = int(distance.argmin())
            if distance[at] < self.radius**2:
                if cost >= self._cost[at]:
                    return False
                self.node[at], self._cost[at], self._points[at] = node, cost, point
                return True
        if len(self) == len(self._places):
            self._places, self._points = (np.concatenate([x, np.zeros_like(x)]) for x in (self._places, self._points))
        self._places[len(self)] = self._points[len(self)] = point
        self.node.append(node)
        self._cost.append(cost)
        return True

    def near(self, samples: np.ndarray, reach: float) -> list[int]:
        """The node to grow from for each of samples (B,D): the cheapest representative within `reach`.

        If there is none within `reach`, it is the nearest one.
        """
        points, cost = self.points, self.cost
        # Not by BLAS: for so little work, its threads would only compete with the simulator for CPUs.
        distance = np.einsum("bd,md->bm", samples, -2 * points)
        distance += np.square(points).sum(1)
        distance += np.square(samples).sum(1)[:, None]
        chosen = distance.argmin(1)
        rows = np.flatnonzero(distance[np.arange(len(samples)), chosen] <= reach**2)
        chosen[rows] = np.where(distance[rows] <= reach**2, cost, np.inf).argmin(1)
        return [self.node[index] for index in chosen]
