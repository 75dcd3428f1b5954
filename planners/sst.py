"""Stable sparse RRT (SST): a search tree over landmark states, for spaces with too many dimensions for a grid.

Li, Littlefield & Bekris, "Asymptotically optimal sampling-based kinodynamic planning", International Journal of
Robotics Research 35(5), 2016: SST, with fixed radii.
Each iteration draws a random point, selects the cheapest node near it, and extends that node by a random action. The
tree may grow on from the new node if it becomes a new landmark, or reaches the nearest landmark at a lower cost than
any node before. So the size of the space bounds the number of landmarks, however many edges are simulated. Each
landmark keeps the cheapest known path to it.
The method needs no steering function (a solver of the two-point boundary value problem), which a simulator does not
offer. A roadmap (PRM), which draws landmarks first and then connects them, would need one.
Two things differ from the paper: many edges are simulated in one call, and the tree begins with the references.

Edge costs are shifted by the smallest possible cost of a control step, as in `planners.cells.shift`. So costs are
non-negative, and paths of different lengths to the same place are comparable. No path continues from an edge that
violates a guardrail.
B edges at once, E actions, H control steps, A action size, D size of an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch

from planners.capabilities import Measurable
from planners.cells.lookahead import lookahead
from planners.cells.shift import shifted
from planners.params import Params
from planners.search.knots import bounded
from planners.search.search import Search
from planners.search.warm import WarmPlanner
from planners.tree import Growth
from planners.trees.landmarks import Landmarks

GROWTH = 0.9  # share of a budget in seconds for the tree


@dataclass(frozen=True)
class SstParams(Params):
    """Parameters of SST; distances are those of `Measurable.embedding`, with velocities over the time of one edge."""

    radius: float = 0.1  # m and rad, smallest distance between landmarks (the paper's delta_s)
    reach: float = 0.2  # m and rad, the cheapest node within this distance of a sample is extended (delta_BN)
    hold: int = 5  # control steps for which an edge holds its action; the last edge of a path may be shorter
    batch: int = 64  # B, edges simulated together
    tail: int = 16  # E, random actions tried per edge when the best path is continued to the horizon
    most_reward: float = 1.0  # largest reward of a control step: minus its smallest cost; 0 if costs are never negative
    goal_cost: float = 1e-6  # an edge ends at a goal if its mean step cost is at most this above the smallest possible

    def __post_init__(self) -> None:
        self.require("radius", 0 < self.radius <= 1e6, "0 < radius <= 1,000,000")
        self.require("reach", 0 <= self.reach <= 1e6, "0 <= reach <= 1,000,000")
        self.require("hold", 1 <= self.hold <= 10_000, "1 to 10,000")
        self.require("batch", 1 <= self.batch <= 10_000, "1 to 10,000")
        self.require("tail", 1 <= self.tail <= 10_000, "1 to 10,000")
        self.require("most_reward", 0 <= self.most_reward < np.inf, "0 <= most_reward < inf")
        self.require("goal_cost", 0 <= self.goal_cost < np.inf, "0 <= goal_cost < inf")


class Sst(WarmPlanner[SstParams, Landmarks]):
    """Grows one tree per plan, and evaluates its cheapest path, continued greedily to the horizon.

    A kinodynamic sampling-based planner of the RRT family. The state keeps the landmarks of the last tree, for drawing.
    """

    Params = SstParams
    needs = Measurable
    lqr_tolerance = 1.0  # random held actions find a path, but do not optimise it

    def improve(self, search: Search[Any], rng: np.random.Generator, memory: Landmarks | None) -> Landmarks | None:
        """Grow the tree, and evaluate its cheapest path as a candidate.

        Raises ValueError if `most_reward` is too small.
        """
        growing = _Growing(self.params, search, rng)
        growing.grow()
        growing.conclude()
        return growing.landmarks


class _Growing:
    """The state of one search."""

    def __init__(self, params: SstParams, search: Search[Any], rng: np.random.Generator) -> None:
        problem = search.problem
        assert isinstance(problem, Measurable)
        self.params, self.search, self.rng, self.problem = params, search, rng, problem
        self.horizon, self.size = search.problem.horizon, search.problem.action_size
        self.seconds = params.hold * search.problem.dt  # time of one edge, for the embedding of velocities
        actions = bounded(rng.standard_normal((int(min(params.tail, max(1, search.left / 4))), self.size)))
        actions[0] = 0.0  # ties go to the first action
        self.tail = actions
        self.reserve = len(actions) + 1  # evaluations for continuing the best path and evaluating it
        root = problem.root()
        self.tree = Growth(root, params.hold, self.size)
        point = problem.embedding(root, self.seconds).numpy()[0]
        self.landmarks = Landmarks(params.radius, len(point))
        self.landmarks.offer(0, point, 0.0)
        self.best = (True, np.inf, 0)  # best path: (whether it is incomplete, cost to the horizon, end node)

    def grow(self) -> None:
        """Simulate edges until only the reserve for the best path is left of the budget."""
        self._references()
        while not self.search.past(GROWTH) and (parents := self._chosen()):
            actions = bounded(self.rng.standard_normal((len(parents), self.size)))
            steps = self._length(parents[0])
            self._follow(parents, np.repeat(actions[:, None], steps, 1))
            self.search.iterations += 1

    def conclude(self) -> None:
        """Evaluate the best path, and freeze the tree."""
        search, tree = self.search, self.tree
        if search.left >= self.reserve:  # even if time is up: otherwise the search would have no result
            node, hold = self.best[2], self.params.hold
            row = torch.from_numpy(tree.nodes[node : node + 1])
            rest = lookahead(search, row, tree.time[node], self.tail, hold)
            search.iterations = max(search.iterations - 1, 0)  # record the path under the last iteration
            judged = search.evaluate(np.concatenate([tree.actions(node), rest])[None])
            search.iterations += 1
            tree.enter(node)
            violation, cost = judged.key(0)
            tree.leave(node, -cost if violation == 0 else None, violation)
        search.tree = tree.freeze(optimism=1.0)

    def _references(self) -> None:
        """Simulate the references edge by edge, as the first paths of the tree."""
        assert self.search.best is not None
        rows = np.unique(self.search.best.batch.actions.numpy(), axis=0)
        ends = [0] * len(rows)
        for begin in range(0, self.horizon, self.params.hold):
            edges = rows[:, begin : begin + self.params.hold]
            if len(rows) == 0 or self.search.late or self._room() < edges.shape[0] * edges.shape[1]:
                return
            ends = self._follow(ends, edges, known=True)
            on = [index for index, node in enumerate(ends) if node >= 0]
            rows, ends = rows[on], [ends[index] for index in on]

    def _chosen(self) -> list[int]:
        """B nodes to grow from, with edges of equal length; a node may occur several times.

        If the budget allows fewer, their number is a power of two, because a simulator may rebuild its buffers for
        every new batch size.
        """
        points, reach, number = self.landmarks.points, self.params.reach, self.params.batch
        low, high = points.min(0) - reach, points.max(0) + reach
        parents = self.landmarks.near(self.rng.uniform(low, high, (number, len(low))), reach)
        steps = self._length(parents[0])
        parents = list(islice(cycle([node for node in parents if self._length(node) == steps]), number))
        count = int(min(number, self._room() / steps))
        if count < 1:
            return []
        return parents[: count if count == number else 1 << (count.bit_length() - 1)]

    def _length(self, node: int) -> int:
        """The number of control steps of an edge from `node`."""
        return min(self.params.hold, self.horizon - self.tree.time[node])

    def _room(self) -> float:
        """The number of control steps that the budget still allows, without the reserve."""
        return (self.search.left - self.reserve) * self.horizon

    def _follow(self, parents: list[int], edges: np.ndarray, known: bool = False) -> list[int]:
        """Simulate edges (B,k,A) from `parents`, add them to the tree, and return the nodes they lead to.

        A node is replaced by -1 if its path ends there.
        Raises ValueError if an edge costs less than `most_reward` allows.

        Args:
            known: whether the edges are those of references. These go on even if their node is no representative, and
                their complete paths are not new candidates.
        """
        tree, steps = self.tree, edges.shape[1]
        stepped = self.problem.step(torch.from_numpy(tree.nodes[parents]), torch.from_numpy(edges))
        self.search.spend(len(parents) * steps)
        violation, cost, done = stepped.violation, stepped.cost.numpy(), stepped.done.numpy()
        shifted(cost, (violation == 0) & np.isfinite(cost), steps, self.params.most_reward)  # raises if too cheap
        rows, points = stepped.nodes.numpy(), self.problem.embedding(stepped.nodes, self.seconds).numpy()
        found: list[int] = []
        for index, parent in enumerate(parents):
            tree.enter(parent)
            node = tree.add(parent, edges[index], 1.0)
            tree.arrive(node, rows[index], float(cost[index]), float(violation[index]))
            safe, whole = tree.violation[node] == 0, bool(done[index]) or tree.time[node] == self.horizon
            tree.leave(node, -tree.cost[node] if safe and whole else None, tree.violation[node] if whole else np.inf)
            goes_on = safe and not whole and self._judge(node, points[index], float(cost[index]) / steps)
            if safe and whole and not known:
                # Steps after the end of an episode cost 0, so the shift is that of a path to the horizon.
                above = tree.cost[node] + self.params.most_reward * self.horizon
                self.best = min(self.best, (False, above, node))
            found.append(node if goes_on or (known and safe and not whole) else -1)
        return found

    def _judge(self, node: int, point: np.ndarray, rate: float) -> bool:
        """Whether the tree may grow on from `node`; also updates the best path.

        Args:
            rate: mean cost per step of the edge that led to `node`.
        """
        most = self.params.most_reward
        above = self.tree.cost[node] + most * self.tree.time[node]
        goal = rate + most <= self.params.goal_cost
        rest = (rate + most) * (self.horizon - self.tree.time[node])  # extrapolated from the last edge
        self.best = min(self.best, (not goal, above + rest, node))
        return not goal and self.landmarks.offer(node, point, above)
