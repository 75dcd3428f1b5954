"""A sparse set of places in a space of any size, each with the cheapest node known near it.

M landmarks, D size of an embedding.
"""

from __future__ import annotations

import numpy as np


class Landmarks:
    """Landmarks are added and never moved, no two closer than `radius`; who represents one may be outdone."""

    def __init__(self, radius: float, size: int) -> None:
        """
        Args:
            radius: in the embedding's unit, > 0.
            size: D.
        """
        self.radius = radius
        self.node: list[int] = []  # (M,), who represents each
        self._cost: list[float] = []  # (M,), of the path to it
        self._places = np.zeros((256, size))
        self._points = np.zeros((256, size))

    def __len__(self) -> int:
        return len(self.node)

    @property
    def places(self) -> np.ndarray:
        """Where the landmarks are, (M,D)."""
        return self._places[: len(self)]

    @property
    def points(self) -> np.ndarray:
        """Where those are that represent them, (M,D)."""
        return self._points[: len(self)]

    @property
    def cost(self) -> np.ndarray:
        """What it costs to reach those, (M,)."""
        return np.array(self._cost)

    def offer(self, node: int, point: np.ndarray, cost: float) -> bool:
        """Whether `node`, at `point` (D,), represents the landmark next to it: one that it founds, or that nobody
        reaches at less cost."""
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
        """For each of samples (B,D) the node to grow from: of those within `reach` the cheapest to get to, and where
        there is none, the nearest."""
        points, cost = self.points, self.cost
        # Not by BLAS: its threads, woken for so little, wait for CPUs that a simulator is using.
        distance = np.einsum("bd,md->bm", samples, -2 * points)
        distance += np.square(points).sum(1)
        distance += np.square(samples).sum(1)[:, None]
        chosen = distance.argmin(1)
        rows = np.flatnonzero(distance[np.arange(len(samples)), chosen] <= reach**2)
        chosen[rows] = np.where(distance[rows] <= reach**2, cost, np.inf).argmin(1)
        return [self.node[index] for index in chosen]
