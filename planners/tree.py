"""The tree of a search: while it grows, and whole when it is done.

M nodes, K control steps of an edge, A action size, S columns of a node. Every edge is known by the node it leads to;
node 0 is the root.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tree:
    """A finished tree, for drawing and explaining. Parents come before their children."""

    parent: np.ndarray  # (M,) int64; -1 for the root
    time: np.ndarray  # (M,) int64, control steps from the root
    visits: np.ndarray  # (M,) int64, simulations through the node
    value: np.ndarray  # (M,) float64, return of whole futures through the node; NaN where none is feasible
    feasible: np.ndarray  # (M,) bool: valid, and no guardrail violated from the root to here
    actions: np.ndarray  # (M,K,A), of the edge to the node; only its first time - time[parent] rows were taken
    nodes: Tensor  # (M,S)

    @property
    def action(self) -> np.ndarray:
        """The first action of the edge to each node, (M,A)."""
        return self.actions[:, 0]

    def path(self, node: int) -> list[int]:
        """The nodes from the root to `node`, both included."""
        found = [node]
        while self.parent[found[-1]] >= 0:
            found.append(int(self.parent[found[-1]]))
        return found[::-1]

    def edge(self, node: int) -> np.ndarray:
        """The actions taken from the parent to `node`, (k,A) with k <= K; none for the root."""
        if node == 0:
            return self.actions[0, :0]
        return self.actions[node, : self.time[node] - self.time[self.parent[node]]]


class Growth:
    """A tree that grows. Selection reads one number at a time, and for that lists are quicker than arrays."""

    def __init__(self, root: Tensor, hold: int, action_size: int) -> None:
        """
        Args:
            root: (1,S).
            hold: K, control steps of the longest edge.
            action_size: A.
        """
        self.parent: list[int] = []
        self.time: list[int] = []  # control steps from the root
        self.children: list[list[int]] = []
        self.visits: list[int] = []  # simulations through the node that are over
        self.pending: list[int] = []  # simulations through it under way
        self.weight: list[float] = []  # in the prior of its siblings
        self.cost: list[float] = []  # from the root to here
        self.violation: list[float] = []  # worst from the root to here, scaled
        self.closed: list[bool] = []  # nothing new can be found beyond it
        self.count: list[int] = []  # feasible whole futures through it, ...
        self.total: list[float] = []  # ... the sum of their returns, ...
        self.best: list[float] = []  # ... the greatest, ...
        self.worst: list[float] = []  # ... and the least
        self.least_violation: list[float] = []  # of whole futures through it, scaled
        self.edges = np.zeros((256, hold, action_size))
        self.nodes = np.zeros((256, root.shape[1]))
        self.nodes[self.add(-1, np.zeros((0, action_size)), 1.0)] = root[0].numpy()
        self.cost[0] = self.violation[0] = 0.0
        self.pending[0] = 0

    def __len__(self) -> int:
        return len(self.parent)

    def add(self, parent: int, edge: np.ndarray, weight: float) -> int:
        """A child of `parent` along an edge (k,A), to which a simulation is under way; see `arrive`."""
        node = len(self)
        if node == len(self.edges):
            self.edges, self.nodes = (np.concatenate([rows, np.zeros_like(rows)]) for rows in (self.edges, self.nodes))
        self.edges[node, : len(edge)] = edge
        if parent >= 0:
            self.children[parent].append(node)
        self.parent.append(parent)
        self.time.append(len(edge) + (self.time[parent] if parent >= 0 else 0))
        self.children.append([])
        self.visits.append(0)
        self.pending.append(1)
        self.weight.append(weight)
        self.cost.append(math.inf)  # until somebody has arrived
        self.violation.append(math.inf)
        self.closed.append(False)
        self.count.append(0)
        self.total.append(0.0)
        self.best.append(-math.inf)
        self.worst.append(math.inf)
        self.least_violation.append(math.inf)
        return node

    def edge(self, node: int) -> np.ndarray:
        """The actions from the parent to `node`, (k,A)."""
        return self.edges[node, : self.time[node] - self.time[self.parent[node]]]

    def arrive(self, node: int, where: np.ndarray, cost: float, violation: float) -> None:
        """What its edge has turned out to be: it leads to `where` (S,), and has this cost and scaled violation."""
        parent = self.parent[node]
        self.nodes[node] = where
        sound = math.isfinite(cost)
        self.cost[node] = self.cost[parent] + cost if sound else math.nan
        self.violation[node] = max(self.violation[parent], violation) if sound else math.inf

    def enter(self, node: int) -> None:
        """A simulation is under way through `node`: it counts at once, as a loss (virtual loss)."""
        while node >= 0:
            self.pending[node] += 1
            node = self.parent[node]

    def leave(self, node: int, gained: float | None, violation: float) -> None:
        """A simulation through `node` is over.

        Args:
            gained: its return, where it is a feasible whole future.
            violation: its worst violation, +inf where it is no whole future.
        """
        while node >= 0:
            self.pending[node] -= 1
            self.visits[node] += 1
            self.least_violation[node] = min(self.least_violation[node], violation)
            if gained is not None:
                self.count[node] += 1
                self.total[node] += gained
                self.best[node] = max(self.best[node], gained)
                self.worst[node] = min(self.worst[node], gained)
            node = self.parent[node]

    def value(self, node: int, optimism: float) -> float:
        """The greatest return through the node and the mean one, weighted; NaN where there is none."""
        if self.count[node] == 0:
            return math.nan
        return optimism * self.best[node] + (1 - optimism) * self.total[node] / self.count[node]

    def actions(self, node: int) -> np.ndarray:
        """The actions from the root to `node`, (t,A)."""
        found: list[np.ndarray] = [self.edges[0, :0]]
        while node > 0:
            found.append(self.edge(node))
            node = self.parent[node]
        return np.concatenate(found[::-1])

    def continuation(self, node: int, feasible: bool) -> np.ndarray:
        """The actions from `node` along the best whole path through it (h,A): by return, or by least violation."""
        found: list[np.ndarray] = [self.edges[0, :0]]
        while kids := self.children[node]:
            if feasible:
                node = max(kids, key=self.best.__getitem__)
                known = self.count[node] > 0
            else:
                node = min(kids, key=self.least_violation.__getitem__)
                known = self.least_violation[node] < math.inf
            if not known:
                break
            found.append(self.edge(node))
        return np.concatenate(found)

    def freeze(self, optimism: float) -> Tree:
        """The tree as it is now; nodes that no simulation has left yet are not part of it."""
        known = [node for node in range(len(self)) if self.visits[node] > 0 or node == 0]
        place = {node: row for row, node in enumerate(known)} | {-1: -1}
        return Tree(
            parent=np.array([place[self.parent[node]] for node in known]),
            time=np.array(self.time)[known],
            visits=np.array(self.visits)[known],
            value=np.array([self.value(node, optimism) for node in known]),
            feasible=np.array(self.violation)[known] == 0,
            actions=self.edges[known],
            nodes=torch.from_numpy(self.nodes[known]),
        )
