"""Search trees: `Growth` while a search is running, `Tree` when it is finished.

M nodes, K control steps of an edge, A action size, S columns of a node. An edge has the index of the node that it leads
to. Node 0 is the root.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tree:
    """A finished search tree, for drawing and explaining; parents come before their children."""

    parent: np.ndarray  # (M,) int64; -1 for the root
    time: np.ndarray  # (M,) int64, control steps from the root
    visits: np.ndarray  # (M,) int64, simulations through the node
    value: np.ndarray  # (M,) float64, return of complete paths through the node; NaN if none is feasible
    feasible: np.ndarray  # (M,) bool: valid, and no guardrail violated from the root to here
    actions: np.ndarray  # (M,K,A), of the edge to the node; only its first time - time[parent] rows are used
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
        """The actions of the edge from the parent to `node`, (k,A) with k <= K; empty for the root."""
        if node == 0:
            return self.actions[0, :0]
        return self.actions[node, : self.time[node] - self.time[self.parent[node]]]


class Growth:
    """A growing search tree. Its columns are lists, because selection reads single numbers, where lists are faster."""

    def __init__(self, root: Tensor, hold: int, action_size: int) -> None:
        """
        Args:
            root: (1,S).
            hold: K, the number of control steps of the longest edge.
            action_size: A.
        """
        self.parent: list[int] = []
        self.time: list[int] = []  # control steps from the root
        self.children: list[list[int]] = []
        self.visits: list[int] = []  # finished simulations through the node
        self.pending: list[int] = []  # unfinished simulations through the node
        self.weight: list[float] = []  # weight in the prior over the node and its siblings
        self.cost: list[float] = []  # from the root to the node
        self.violation: list[float] = []  # worst from the root to the node, scaled
        self.closed: list[bool] = []  # whether nothing new can be found below the node
        self.count: list[int] = []  # number of feasible complete paths through the node
        self.total: list[float] = []  # sum of their returns
        self.best: list[float] = []  # largest of their returns
        self.worst: list[float] = []  # smallest of their returns
        self.least_violation: list[float] = []  # of complete paths through the node, scaled
        self.edges = np.zeros((256, hold, action_size))
        self.nodes = np.zeros((256, root.shape[1]))
        self.nodes[self.add(-1, np.zeros((0, action_size)), 1.0)] = root[0].numpy()
        self.cost[0] = self.violation[0] = 0.0
        self.pending[0] = 0

    def __len__(self) -> int:
        return len(self.parent)

    def add(self, parent: int, edge: np.ndarray, weight: float) -> int:
        """Add a child of `parent` along an edge (k,A), with one pending simulation; `arrive` sets its result."""
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
        self.cost.append(math.inf)  # until `arrive` is called
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
        """Store the result of the simulated edge to `node`: its end `where` (S,), its cost and scaled violation."""
        parent = self.parent[node]
        self.nodes[node] = where
        sound = math.isfinite(cost)
        self.cost[node] = self.cost[parent] + cost if sound else math.nan
        self.violation[node] = max(self.violation[parent], violation) if sound else math.inf

    def enter(self, node: int) -> None:
        """Start a simulation through `node`; selection counts it at once, as a loss (virtual loss)."""
        while node >= 0:
            self.pending[node] += 1
            node = self.parent[node]

    def leave(self, node: int, gained: float | None, violation: float) -> None:
        """Finish a simulation through `node`, and back up its result to the root.

        Args:
            gained: its return; None unless it is a feasible complete path.
            violation: its worst scaled violation; +inf unless it is a complete path.
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
        """The largest return through the node times `optimism`, plus the mean return times the rest.

        NaN if no feasible complete path goes through the node.
        """
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
        """The actions (h,A) from `node` along the best complete path through it.

        The best path is the one with the largest return if `feasible`, else the one with the smallest violation.
        """
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
        """A copy of the tree as it is now, without nodes that only unfinished simulations have reached."""
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
