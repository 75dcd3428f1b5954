"""Best-first search for the cheapest path over the graph of cells: the common part of Dijkstra's algorithm and A*.

Edge costs are shifted by the smallest possible cost of a control step, so that none is negative. A cell is represented
by the first of its nodes to be expanded, which has the smallest cost + heuristic (Dolgov, Thrun, Montemerlo & Diebel,
"Path Planning for Autonomous Vehicles in Unknown Semi-structured Environments", IJRR 2010, "hybrid-state A*"). If every
cell holds only one node, the path to a goal is optimal.
A path that reaches the horizon ends there. It does not pay for anything beyond the horizon, but the heuristic includes
those costs in the order of expansion. So A* may prefer a goal over a cheaper path that ends at the horizon.
E actions, S columns of a node, A action size, L edges of a path.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from planners.capabilities import Discretisable
from planners.cells.grid import Grid, GridParams, grid
from planners.cells.lookahead import lookahead
from planners.cells.shift import ROUNDING, shifted
from planners.problem import Unsuited
from planners.search.search import Search
from planners.trees.actions import action_set

Heuristic = Callable[[Tensor], Tensor]
GOAL = -1  # stands for a goal where a cell is expected


@dataclass(frozen=True)
class GraphParams(GridParams):
    """Parameters of a search for the cheapest path."""

    most_reward: float = 1.0  # largest reward of a control step: minus its smallest cost; 0 if costs are never negative
    goal_cost: float = 1e-6  # an edge ends at a goal if its mean step cost is at most this above the smallest possible

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("most_reward", 0 <= self.most_reward < np.inf, "0 <= most_reward < inf")
        self.require("goal_cost", 0 <= self.goal_cost < np.inf, "0 <= goal_cost < inf")


@dataclass(frozen=True, eq=False)
class Route:
    """The cheapest path found, and the effort of the search."""

    edges: np.ndarray  # (L,) int, indices of actions
    end: Tensor  # (1,S), the node that it leads to
    cost: float  # in excess of the smallest possible cost of its steps
    goal: bool  # whether it ends at a goal; if not, it ends at the horizon, or the budget was used up
    expanded: int  # number of nodes expanded
    simulated: int  # number of nodes whose edges were simulated; some of them were not expanded
    identity: str = ""  # of the problem
    plan: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # (H,A), the path continued to the horizon
    step_cost: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (H,), predicted costs of the plan


def improve(search: Search[Any], params: GraphParams, heuristic: Heuristic, known: Route | None) -> Route | None:
    """Find the cheapest path, continue it greedily to the horizon, and evaluate it.

    There is no search while the rest of the last path to a goal still costs what was predicted, because the rest of a
    cheapest path is itself a cheapest path (Bellman's principle of optimality). If a disturbance opens a shorter path
    but does not change those costs, it is not noticed.
    There is no search either if the best reference already has the smallest possible cost.
    """
    exploration = Exploration(search, params, heuristic)
    if exploration.unbeatable() or (known is not None and exploration.follows(known)):
        return known
    if not search.room(exploration.reserve):
        return None
    route = exploration.run()
    actions, hold = exploration.actions, exploration.hold
    path = np.repeat(actions[route.edges], hold, 0)
    rest = lookahead(search, route.end, len(path), actions, hold)
    plan = np.concatenate([path, rest])
    evaluation = search.problem.evaluate(torch.from_numpy(plan[None]))
    search.record(torch.from_numpy(plan[None]), evaluation)
    step_cost = evaluation.step_cost[0].numpy().copy()
    return replace(route, identity=exploration.problem.identity(), plan=plan, step_cost=step_cost)


class Node(NamedTuple):
    """A node of the search tree."""

    row: Tensor  # (S,)
    cell: int
    cost: float  # of the path from the root (g)
    ahead: float  # heuristic: lower bound on the cost-to-go (h)
    depth: int  # number of edges from the root
    parent: int  # -1: none
    edge: int  # index of the action of the edge to this node; -1: none
    goal: bool


@dataclass(eq=False)
class Exploration:
    """The state of one best-first search.

    Nodes are expanded one at a time, in order of cost + heuristic. The nodes that follow in this order are simulated in
    the same call as the node to be expanded. That changes only the run time.
    """

    search: Search[Any]
    params: GraphParams
    heuristic: Heuristic
    nodes: list[Node] = field(default_factory=list)
    open: list[tuple[float, bool, float, int]] = field(default_factory=list)  # frontier, a heap; ties go to goals
    known: dict[int, list[Node]] = field(default_factory=dict)  # children of nodes simulated, but not yet expanded
    closed: set[int] = field(default_factory=set)  # cells with an expanded node
    ways: dict[int, set[int]] = field(default_factory=dict)  # closed cell -> cells that its edges lead to
    expanded: int = 0
    simulated: int = 0

    def __post_init__(self) -> None:
        problem, params = self.search.problem, self.params
        assert isinstance(problem, Discretisable)
        self.problem: Discretisable = problem
        self.grid: Grid = grid(problem.space(), params)
        self.actions = action_set(params.actions_per_dimension, problem.action_size)
        self.hold = min(params.hold, problem.horizon)
        self.limit = problem.horizon // self.hold  # largest number of edges of a path
        self.reserve = len(self.actions) + 1  # evaluations for continuing the path and evaluating it
        root = problem.root()
        cell = int(self.grid.nearest(problem.coordinates(root).numpy())[0])
        self._add(Node(root[0], cell, 0.0, float(self._bound(root)[0]), 0, -1, -1, False))

    def run(self) -> Route:
        """Search until the best open node is a goal or at the horizon, or the budget is used up."""
        while self.open:
            index = self.open[0][-1]
            node = self.nodes[index]
            if self._superfluous(node):
                heapq.heappop(self.open)
                continue
            if node.goal or node.depth >= self.limit:
                return self._route(index)
            if index not in self.known and not self._simulate():
                break
            heapq.heappop(self.open)
            self.closed.add(node.cell)
            self.expanded += 1
            children = self.known.pop(index)
            self.ways[node.cell] = {GOAL if child.goal else child.cell for child in children}
            for child in children:
                if not self._superfluous(child):
                    self._add(child)
        return self._route(self._most_promising())

    def unbeatable(self) -> bool:
        """Whether every step of the best reference has the smallest possible cost."""
        best, horizon = self.search.best, self.search.problem.horizon
        if best is None or best.key[0] > 0:
            return False
        steps = float(best.batch.evaluation.step_cost[best.index].sum())  # terminal costs have no such bound
        return steps <= (ROUNDING * (1 + self.params.most_reward) - self.params.most_reward) * horizon

    def follows(self, route: Route) -> bool:
        """Whether the best reference begins with the rest of this path to a goal, at the predicted costs."""
        best = self.search.best
        if best is None or best.key[0] > 0 or not route.goal or route.identity != self.problem.identity():
            return False
        actions, cost = best.actions, best.batch.evaluation.step_cost[best.index].numpy()
        for done in range(1, len(route.edges) * self.hold):  # later steps are past the goal
            rest, foreseen = route.plan[done:][: len(actions)], route.step_cost[done:][: len(actions)]
            if np.array_equal(rest, actions[: len(rest)]) and np.allclose(foreseen, cost[: len(rest)], 0, 1e-6):
                return True
        return False

    def _add(self, node: Node) -> None:
        heapq.heappush(self.open, (node.cost + node.ahead, not node.goal, node.ahead, len(self.nodes)))
        self.nodes.append(node)

    def _superfluous(self, node: Node) -> bool:
        """Whether another node of its cell has been expanded already, with at most the same cost + heuristic."""
        return not node.goal and node.cell in self.closed

    def _simulate(self) -> bool:
        """Simulate all edges of the next nodes to be expanded; False if the budget does not allow it."""
        each = len(self.actions) * self.hold
        room = self.search.left - self.reserve
        count = min(self.params.batch, room * self.search.problem.horizon // each)
        if count < 1 or self.search.late:
            return False
        front = [entry[-1] for entry in heapq.nsmallest(2 * int(count), self.open)]
        line = [i for i in front if i not in self.known and self._expandable(self.nodes[i])][: int(count)]
        rows = torch.stack([self.nodes[i].row for i in line])
        edges = np.repeat(self.actions[:, None], self.hold, 1)
        stepped = self.problem.step(
            rows.repeat_interleave(len(self.actions), 0), torch.from_numpy(np.tile(edges, (len(line), 1, 1)))
        )
        self.search.spend(len(line) * each)
        self.simulated += len(line)
        safe = stepped.violation == 0  # edges that violate a guardrail are removed, whatever they cost
        cells = self.grid.nearest(self.problem.coordinates(stepped.nodes).numpy())
        cost = shifted(stepped.cost.numpy(), safe, self.hold, self.params.most_reward)
        done = stepped.done.numpy()
        bound = self._bound(stepped.nodes)
        for place, parent in enumerate(line):
            first = place * len(self.actions)
            found = [
                self._child(parent, e - first, stepped.nodes[e], cells[e], cost[e], bound[e], done[e])
                for e in range(first, first + len(self.actions))
                if safe[e] and (cells[e] >= 0 or done[e])
            ]
            self.known[parent] = found
        return True

    def _expandable(self, node: Node) -> bool:
        return not (node.goal or node.depth >= self.limit or self._superfluous(node))

    def _child(self, index: int, edge: int, row: Tensor, cell: int, cost: float, bound: float, done: bool) -> Node:
        """The node that an edge leads to.

        Raises Unsuited if the heuristic is not 0 at a goal, or if it is inconsistent along the edge.
        """
        parent = self.nodes[index]
        goal = bool(done or cost <= self.params.goal_cost * self.hold)
        if done:  # steps after the end of the episode cost 0, so `most_reward` each after the shift
            cost += self.params.most_reward * (self.search.problem.horizon - (parent.depth + 1) * self.hold)
        if goal and not done and bound > ROUNDING:
            given = f"{bound:g} given at a goal (goal_cost: {self.params.goal_cost:g})"
            raise Unsuited(f"heuristic: {given}, allowed: 0, as nothing more must be paid there")
        ahead = 0.0 if done else float(bound)
        if parent.ahead > cost + ahead + ROUNDING * (1 + abs(cost + ahead)):
            raise Unsuited(
                f"heuristic: {parent.ahead:g} given, allowed: at most {cost + ahead:g}, as an edge that costs {cost:g} "
                f"above the least (most_reward: {self.params.most_reward:g}) leads to where it gives {ahead:g}"
            )
        return Node(row, int(cell), parent.cost + float(cost), ahead, parent.depth + 1, index, edge, goal)

    def _bound(self, rows: Tensor) -> np.ndarray:
        """The heuristic of nodes (N,S), (N,). Raises Unsuited if it is NaN."""
        bound = self.heuristic(rows).numpy()
        if np.isnan(bound).any():
            raise Unsuited("heuristic: NaN given, allowed: a lower bound on the cost, +inf where there is no way")
        return bound

    def _most_promising(self) -> int:
        """The node to end at if the search found no complete path: the cheapest one, not in a dead end if possible.

        Costs are extrapolated to the horizon with the cost of the node's last edge.
        """

        def key(index: int) -> tuple[float, float]:
            node = self.nodes[index]
            rate = node.cost - self.nodes[node.parent].cost if node.parent >= 0 else math.inf
            return node.cost + rate * (self.limit - node.depth), node.ahead

        dead = self._dead_ends()
        alive = [index for index, node in enumerate(self.nodes) if node.goal or node.cell not in dead]
        return min(alive or range(len(self.nodes)), key=key)

    def _dead_ends(self) -> set[int]:
        """Expanded cells that have no safe edges, or only edges to dead ends."""
        dead: set[int] = set()
        grown = True
        while grown:
            before = len(dead)
            for cell, ways in reversed(self.ways.items()):  # newest first, which needs fewer passes
                if ways <= dead:
                    dead.add(cell)
            grown = len(dead) > before
        return dead

    def _route(self, index: int) -> Route:
        end = self.nodes[index]
        edges: list[int] = []
        while self.nodes[index].parent >= 0:
            edges.append(self.nodes[index].edge)
            index = self.nodes[index].parent
        path = np.array(edges[::-1], dtype=np.int64)
        return Route(path, end.row[None], end.cost, end.goal, self.expanded, self.simulated)
