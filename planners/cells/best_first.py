"""The shortest path on the graph of cells, found node by node from the root, the most promising first.

Edge costs are counted above the least that a control step can cost, so that none is negative. A cell is represented
by the first of its nodes whose turn comes: the cheapest way into it (Dolgov, Thrun, Montemerlo & Diebel, "Path Planning
for Autonomous Vehicles in Unknown Semi-structured Environments", IJRR 2010, "hybrid-state A*"). Where a cell holds one
node only, no path to a goal is cheaper. A path that meets the horizon first ends there: what is beyond is not paid, but
where a heuristic knows of it, it counts in the order of turns, so that A* may prefer a goal to a cheaper path to there.
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
GOAL = -1  # in the place of a cell


@dataclass(frozen=True)
class GraphParams(GridParams):
    """Parameters of a search for the shortest path."""

    most_reward: float = 1.0  # of a control step, minus its least possible cost; 0 where costs are never negative
    goal_cost: float = 1e-6  # an edge ends at a goal where its steps cost no more than this above the least, on average

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("most_reward", 0 <= self.most_reward < np.inf, "0 <= most_reward < inf")
        self.require("goal_cost", 0 <= self.goal_cost < np.inf, "0 <= goal_cost < inf")


@dataclass(frozen=True, eq=False)
class Route:
    """The cheapest path found, and what it took to find it."""

    edges: np.ndarray  # (L,) int, indices of actions
    end: Tensor  # (1,S), the node that it leads to
    cost: float  # above the least that its steps can cost
    goal: bool  # whether it ends at a goal; otherwise at the horizon, or where the budget ended
    expanded: int  # nodes whose edges were followed
    simulated: int  # nodes whose edges were simulated, some ahead of their turn
    identity: str = ""  # of the problem
    plan: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # (H,A), the path continued to the horizon
    step_cost: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (H,), what the plan was foreseen to cost


def improve(search: Search[Any], params: GraphParams, heuristic: Heuristic, known: Route | None) -> Route | None:
    """Evaluate the cheapest path, continued greedily to the horizon.

    While the rest of a path to a goal costs what was foreseen, it is kept: the rest of a cheapest path is one itself
    (Bellman's principle of optimality). That a disturbance left the cost as it was and opened a shorter way goes
    unnoticed. Nor is there anything to search for where nothing can be cheaper.
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
    """A place on a path from the root."""

    row: Tensor  # (S,)
    cell: int
    cost: float  # of the path
    ahead: float  # the heuristic's bound
    depth: int  # edges of the path
    parent: int  # -1: none
    edge: int  # index of the action that led here
    goal: bool


@dataclass(eq=False)
class Exploration:
    """The graph as far as it is known. Nodes take their turns one by one in order of cost + heuristic; those that are
    next in line are simulated with the one whose turn it is, which changes nothing but the time it takes."""

    search: Search[Any]
    params: GraphParams
    heuristic: Heuristic
    nodes: list[Node] = field(default_factory=list)
    open: list[tuple[float, bool, float, int]] = field(default_factory=list)  # a heap: the best first, ties to goals
    known: dict[int, list[Node]] = field(default_factory=dict)  # simulated, not yet expanded: what edges lead to
    closed: set[int] = field(default_factory=set)  # cells that a node represents
    ways: dict[int, set[int]] = field(default_factory=dict)  # from those, the cells that edges lead to
    expanded: int = 0
    simulated: int = 0

    def __post_init__(self) -> None:
        problem, params = self.search.problem, self.params
        assert isinstance(problem, Discretisable)
        self.problem: Discretisable = problem
        self.grid: Grid = grid(problem.space(), params)
        self.actions = action_set(params.actions_per_dimension, problem.action_size)
        self.hold = min(params.hold, problem.horizon)
        self.limit = problem.horizon // self.hold  # edges
        self.reserve = len(self.actions) + 1  # evaluations: the path must be continued and judged
        root = problem.root()
        cell = int(self.grid.nearest(problem.coordinates(root).numpy())[0])
        self._add(Node(root[0], cell, 0.0, float(self._bound(root)[0]), 0, -1, -1, False))

    def run(self) -> Route:
        """Until a goal or the horizon is the best that is open, or the budget ends."""
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
        """Whether every step of the best reference costs the least that it can."""
        best, horizon = self.search.best, self.search.problem.horizon
        if best is None or best.key[0] > 0:
            return False
        steps = float(best.batch.evaluation.step_cost[best.index].sum())  # a critic has no such bound
        return steps <= (ROUNDING * (1 + self.params.most_reward) - self.params.most_reward) * horizon

    def follows(self, route: Route) -> bool:
        """Whether the best reference begins with the rest of this path to a goal, at the cost that was foreseen."""
        best = self.search.best
        if best is None or best.key[0] > 0 or not route.goal or route.identity != self.problem.identity():
            return False
        actions, cost = best.actions, best.batch.evaluation.step_cost[best.index].numpy()
        for done in range(1, len(route.edges) * self.hold):  # beyond, the plan is no path to a goal
            rest, foreseen = route.plan[done:][: len(actions)], route.step_cost[done:][: len(actions)]
            if np.array_equal(rest, actions[: len(rest)]) and np.allclose(foreseen, cost[: len(rest)], 0, 1e-6):
                return True
        return False

    def _add(self, node: Node) -> None:
        heapq.heappush(self.open, (node.cost + node.ahead, not node.goal, node.ahead, len(self.nodes)))
        self.nodes.append(node)

    def _superfluous(self, node: Node) -> bool:
        """Whether another node represents its cell, so at no higher cost."""
        return not node.goal and node.cell in self.closed

    def _simulate(self) -> bool:
        """Follow all edges of the nodes that are next in line; False where the budget does not allow it."""
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
        safe = stepped.violation == 0  # a guardrail takes edges away, whatever they cost
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
        """Where an edge led. Raises Unsuited where the heuristic claims more than the edge proves possible."""
        parent = self.nodes[index]
        goal = bool(done or cost <= self.params.goal_cost * self.hold)
        if done:  # steps after the end earn nothing: above the least, each costs what it could have earned
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
        """The heuristic (N,). Raises Unsuited where it is no number."""
        bound = self.heuristic(rows).numpy()
        if np.isnan(bound).any():
            raise Unsuited("heuristic: NaN given, allowed: a lower bound on the cost, +inf where there is no way")
        return bound

    def _most_promising(self) -> int:
        """The node to go to when no path was completed: as if its last edge's cost went on to the horizon."""

        def key(index: int) -> tuple[float, float]:
            node = self.nodes[index]
            rate = node.cost - self.nodes[node.parent].cost if node.parent >= 0 else math.inf
            return node.cost + rate * (self.limit - node.depth), node.ahead

        dead = self._dead_ends()
        alive = [index for index, node in enumerate(self.nodes) if node.goal or node.cell not in dead]
        return min(alive or range(len(self.nodes)), key=key)

    def _dead_ends(self) -> set[int]:
        """Cells from where every edge leads to a dead end, or none may be followed."""
        dead: set[int] = set()
        grown = True
        while grown:
            before = len(dead)
            for cell, ways in reversed(self.ways.items()):  # what was found last ends first
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
