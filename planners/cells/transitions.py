"""A finite Markov decision process made of simulated edges: one from every grid point under every action.

An edge ends between grid points. It becomes a random transition to the grid points around its end; the weights of
multilinear interpolation are the probabilities. This keeps the approximation consistent (Markov chain approximation:
Kushner & Dupuis, "Numerical Methods for Stochastic Control Problems in Continuous Time", 2001, chapter 5; Munos &
Moore, "Variable Resolution Discretization in Optimal Control", Machine Learning 49, 2002).
M grid points, of which m are known, E actions, C = 2^D corners, D coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse

from planners.capabilities import Discretisable, DiscretisableProblem
from planners.cells.grid import Grid, GridParams, grid
from planners.cells.shift import ROUNDING
from planners.problem import Unsuited
from planners.search.search import Search
from planners.trees.actions import action_set

MAX_POINTS = 5_000_000  # largest grid, as the table keeps every point
GROWTH = 0.5  # share of a budget in seconds for simulating new edges


@dataclass(frozen=True, eq=False)
class Transitions:
    """The table of edges simulated so far; points are added in `order`, those near the first root first."""

    identity: str  # of the problem
    grid: Grid
    order: np.ndarray  # (M,) grid points
    actions: np.ndarray  # (E,A)
    cost: np.ndarray  # (m,E), of whole edges
    corner: np.ndarray  # (m,E,C) int64, grid points
    weight: np.ndarray  # (m,E,C), sum to 1 over C; all 0 if the episode ended on the edge
    safe: np.ndarray  # (m,E) bool: valid, no guardrail violated, and its end is inside the grid

    @property
    def known(self) -> np.ndarray:
        """The grid points whose edges have been simulated, (m,)."""
        return self.order[: len(self.cost)]

    @property
    def complete(self) -> bool:
        """Whether every point is known."""
        return len(self.cost) == len(self.order)

    def survivors(self) -> tuple[np.ndarray, np.ndarray]:
        """The points (M,) bool from which safe edges can be followed forever, and those edges (m,E) bool.

        An edge is removed if it is not safe, or if most of its weight is on removed points. A point is removed if it
        has no edge left. This repeats until nothing changes. Points that are not known yet stay.

        The result approximates the viability kernel (Saint-Pierre, "Approximation of the Viability Kernel", Applied
        Mathematics and Optimization 29, 1994). It is neither an inner nor an outer approximation, because an edge
        counts as leading to where most of its weight is. The weight on the point where the edge starts is left out.
        The majority is a compromise, because interpolation puts weight on points that no motion leads to. If all points
        with weight had to be left, removal would spread by one cell at a time over the whole grid. If one of them, or
        the starting point, were enough, short edges would not detect a slow drift into removed points.
        """
        points = np.ones(len(self.order), bool)
        own = self.corner == self.known[:, None, None]
        moving = np.where(own, 0.0, self.weight)
        whole = moving.sum(2)
        stays = whole < ROUNDING  # the edge stays at its point, or ends the episode
        while True:
            edges = self.safe & (stays | trusted(np.where(points[self.corner], moving, 0.0).sum(2), whole))
            left = np.ones_like(points)
            left[self.known] = edges.any(1)
            if (left == points).all():
                return points, edges
            points = left

    def left(self, points: np.ndarray) -> np.ndarray:
        """The weights (m,E,C), set to 0 at grid points that are not in `points` (M,) bool."""
        return np.where(points[self.corner], self.weight, 0.0)

    def matrix(self, points: np.ndarray, edges: np.ndarray) -> sparse.csr_matrix:
        """Transition probabilities from every known point and action to every point, sparse (m*E,M).

        Only the given points (M,) bool and edges (m,E) bool count. A row sums to 1; it is 0 if its edge does not count
        or ends the episode.
        """
        rows, size = self.cost.size, self.corner.shape[2]
        weight = np.where(edges[..., None], self.left(points), 0.0)
        weight = weight / np.maximum(weight.sum(2, keepdims=True), ROUNDING)
        ends = np.arange(0, rows * size + 1, size)
        return sparse.csr_matrix((weight.ravel(), self.corner.ravel(), ends), (rows, len(self.order)))


def trusted(weight: np.ndarray, whole: np.ndarray | float = 1.0) -> np.ndarray:
    """Whether `weight` is at least half of the `whole` weight."""
    return weight >= 0.5 * whole - ROUNDING


def blank(problem: DiscretisableProblem[Any], params: GridParams) -> Transitions:
    """An empty table, without edges. Raises Unsuited if the grid has more than `MAX_POINTS` points."""
    cells = grid(problem.space(), params)
    if cells.size > MAX_POINTS:
        given = f"10^{math.log10(cells.size):.0f} points in {len(cells.cells)} dimensions"
        raise Unsuited(f"cells: {given} given, allowed: {MAX_POINTS:,} at most; `sst` plans in larger spaces")
    actions = action_set(params.actions_per_dimension, problem.action_size)
    away = cells.points - problem.coordinates(problem.root()).numpy()
    reach = cells.step * cells.cells
    # For periodic coordinates, take the shorter way around.
    away = np.where(cells.periodic, (away + reach / 2) % reach - reach / 2, away) / reach
    order = np.argsort(np.square(away).sum(1), kind="stable")
    corners = 2 ** len(reach)
    return Transitions(
        problem.identity(),
        cells,
        order,
        actions,
        np.zeros((0, len(actions))),
        np.zeros((0, len(actions), corners), np.int64),
        np.zeros((0, len(actions), corners)),
        np.zeros((0, len(actions)), bool),
    )


def grown(table: Transitions, search: Search[Any], params: GridParams, reserve: int) -> Transitions:
    """Simulate more points until all are known, half of the time is used, or only `reserve` evaluations are left."""
    problem, hold = search.problem, params.hold
    assert isinstance(problem, Discretisable)
    each = len(table.actions) * hold
    done = len(table.cost)
    parts = [(table.cost, table.corner, table.weight, table.safe)]
    while done < len(table.order) and not search.past(GROWTH):
        room = (search.left - reserve) * problem.horizon // each
        count = int(min(params.batch, len(table.order) - done, room))
        if count < 1:
            break
        points = table.grid.points_at(table.order[done : done + count])
        nodes = problem.place(torch.from_numpy(points)).repeat_interleave(len(table.actions), 0)
        edges = np.tile(np.repeat(table.actions[:, None], hold, 1), (count, 1, 1))
        stepped = problem.step(nodes, torch.from_numpy(edges))
        search.spend(count * each)
        corner, weight, inside = table.grid.corners(problem.coordinates(stepped.nodes).numpy())
        ended = stepped.done.numpy()
        weight[ended] = 0.0
        cost = stepped.cost.numpy()
        safe = (stepped.violation == 0) & np.isfinite(cost) & (inside | ended)
        shape = (count, len(table.actions))
        parts.append((cost.reshape(shape), corner.reshape(*shape, -1), weight.reshape(*shape, -1), safe.reshape(shape)))
        done += count
    if len(parts) == 1:
        return table
    cost, corner, weight, safe = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Transitions(table.identity, table.grid, table.order, table.actions, cost, corner, weight, safe)
