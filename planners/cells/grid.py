"""Grids: a discretisation of the coordinates into cells, which turns a problem into a finite graph.

N nodes, D coordinates, M grid points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from planners.capabilities import Space
from planners.params import Params
from planners.problem import Unsuited


@dataclass(frozen=True)
class GridParams(Params):
    """Parameters of the discretisation."""

    cells: int | tuple[int, ...] = 31  # per coordinate: one number for all, or one for each; 1: coordinate is ignored
    bound: float | tuple[float, ...] = 10.0  # of coordinates without bounds: |coordinate| at most this, in its unit
    actions_per_dimension: int = 3  # evenly spaced over [-1,1], ends included
    hold: int = 1  # control steps for which an edge holds its action
    batch: int = 64  # nodes or grid points simulated together

    def __post_init__(self) -> None:
        cells = self.cells if isinstance(self.cells, tuple) else (self.cells,)
        bound = self.bound if isinstance(self.bound, tuple) else (self.bound,)
        self.require(
            "cells", bool(cells) and all(1 <= n <= 100_000 for n in cells), "1 to 100,000, for each coordinate"
        )
        self.require(
            "bound", bool(bound) and all(0 < x < np.inf for x in bound), "0 < bound < inf, for each coordinate"
        )
        self.require("actions_per_dimension", 2 <= self.actions_per_dimension <= 1_000, "2 to 1,000")
        self.require("hold", 1 <= self.hold <= 10_000, "1 to 10,000")
        self.require("batch", 1 <= self.batch <= 1_000_000, "1 to 1,000,000")


@dataclass(frozen=True, eq=False)
class Grid:
    """M evenly spaced points, each in the middle of its cell; M is the product of `cells`.

    Points are indexed in row-major (C) order: the last coordinate varies fastest.
    """

    low: np.ndarray  # (D,), coordinates of the first point
    step: np.ndarray  # (D,), > 0, distance between neighbours
    cells: np.ndarray  # (D,) int64
    periodic: np.ndarray  # (D,) bool
    closed: np.ndarray  # (D,) bool: the space is bounded; coordinates beyond the grid count as its edge

    @property
    def size(self) -> int:
        """The number of points, M."""
        return math.prod(self.cells.tolist())

    @property
    def points(self) -> np.ndarray:
        """All points, (M,D)."""
        return self.points_at(np.arange(self.size))

    def points_at(self, index: np.ndarray) -> np.ndarray:
        """The points (N,D) at indices (N,)."""
        return self.low + self.step * np.stack(np.unravel_index(index, self.cells), 1)

    def nearest(self, coordinates: np.ndarray) -> np.ndarray:
        """Indices (N,) of the cells that contain coordinates (N,D); -1 outside the grid and where not finite.

        They are int64, or Python integers (dtype object) if there are too many cells for int64.
        """
        at, inside = self._located(coordinates)
        index = np.floor(at + 0.5).astype(np.int64)
        index = np.where(self.periodic, index % self.cells, np.clip(index, 0, self.cells - 1))
        return np.where(inside, index @ self._strides, -1)

    def corners(self, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Multilinear interpolation at coordinates (N,D).

        Returns:
            The indices of the surrounding points (N,2^D), their weights (N,2^D), which sum to 1, and whether the
            coordinates lie inside the grid, (N,) bool.
        """
        at, inside = self._located(coordinates)
        at = np.where(self.periodic, at, np.clip(at, 0, self.cells - 1))
        base = np.floor(at).astype(np.int64)
        part = at - base
        # A corner of a cell is an offset of 0 or 1 per coordinate.
        offset = np.array(list(product((0, 1), repeat=len(self.cells))))
        index = base[:, None] + offset
        index = np.where(self.periodic, index % self.cells, np.minimum(index, self.cells - 1))
        weight = np.where(offset == 1, part[:, None], 1 - part[:, None]).prod(2)
        weight[weight < 1e-9] = 0.0  # rounding errors: points without weight must not count as neighbours
        return index @ self._strides, weight / weight.sum(1, keepdims=True), inside

    def _located(self, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates in steps from the first point, (N,D), and whether they lie inside the grid, (N,) bool."""
        finite = np.logical_and.reduce(np.isfinite(coordinates), 1)
        at = (np.where(finite[:, None], coordinates, self.low) - self.low) / self.step
        within = (at >= -0.5 - 1e-9) & (at <= self.cells - 0.5 + 1e-9)
        reachable = np.logical_and.reduce(within | self.closed | self.periodic, 1)
        return at, finite & reachable

    @cached_property
    def _strides(self) -> np.ndarray:
        kind = np.int64 if self.size <= np.iinfo(np.int64).max else object
        return np.append(np.cumprod(self.cells[:0:-1].astype(kind))[::-1], 1).astype(kind)


def grid(space: Space, params: GridParams) -> Grid:
    """The grid of a space. Raises Unsuited if a parameter is a tuple with the wrong number of coordinates."""
    cells = _each("cells", params.cells, space).astype(np.int64)
    bound = _each("bound", params.bound, space)
    low = np.where(np.isfinite(space.low), space.low, -bound)
    high = np.where(np.isfinite(space.high), space.high, bound)
    closed = np.isfinite(space.low) & np.isfinite(space.high)
    one = cells == 1
    gaps = np.where(space.periodic | one, cells, cells - 1)  # periodic: after the last point comes the first
    step = (high - low) / gaps
    return Grid(np.where(one, (low + high) / 2, low), step, cells, space.periodic & ~one, closed)


def _each(name: str, given: float | tuple[float, ...], space: Space) -> np.ndarray:
    size = len(space.names)
    if isinstance(given, tuple) and len(given) != size:
        raise Unsuited(f"{name}: {len(given)} given, allowed: one, or {size}: {', '.join(space.names)}")
    return np.broadcast_to(np.array(given, dtype=np.float64), (size,))
