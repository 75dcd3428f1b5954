"""Stable sparse RRT: a tree over landmark states, for spaces in which cells would be too many.

Li, Littlefield & Bekris, "Asymptotically optimal sampling-based kinodynamic planning", International Journal of
Robotics Research 35(5), 2016: SST, with fixed radii. A random point of the space chooses the cheapest node near it,
which grows an edge under a random action; the end of the edge stays where it founds a landmark, or reaches the one next
to it at less cost than anybody before. So there are as many landmarks as the space has room for at their distance,
however many edges are simulated, and the cheapest known way to each. Nothing has to be steered to anywhere, which no
simulator can do: that is why these landmarks grow a tree, and are not drawn first and then joined, by edges that would
have to meet. Here many edges grow in one call, and the tree begins with the references.

Edge costs are counted above the least that a control step can cost, as in `planners.cells.shift`, so that of two ways
to a place the cheaper is the better one, also where it is shorter. An edge that breaks a guardrail leads nowhere.
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
    """Parameters of the search; distances are those of `Measurable.embedding`, speeds counted over one edge."""

    radius: float = 0.1  # m and rad: landmarks are no closer to each other
    reach: float = 0.2  # m and rad: the cheapest node this near to a sample grows, where there is one
    hold: int = 5  # control steps for which an edge holds its action; the last one of a path may be shorter
    batch: int = 64  # B, edges simulated together
    tail: int = 16  # E, actions tried per edge where the path that goes out is continued to the horizon
    most_reward: float = 1.0  # of a control step, minus its least possible cost; 0 where costs are never negative
    goal_cost: float = 1e-6  # an edge ends at a goal where its steps cost no more than this above the least, on average

    def __post_init__(self) -> None:
        self.require("radius", 0 < self.radius <= 1e6, "0 < radius <= 1,000,000")
        self.require("reach", 0 <= self.reach <= 1e6, "0 <= reach <= 1,000,000")
        self.require("hold", 1 <= self.hold <= 10_000, "1 to 10,000")
        self.require("batch", 1 <= self.batch <= 10_000, "1 to 10,000")
        self.require("tail", 1 <= self.tail <= 10_000, "1 to 10,000")
        self.require("most_reward", 0 <= self.most_reward < np.inf, "0 <= most_reward < inf")
        self.require("goal_cost", 0 <= self.goal_cost < np.inf, "0 <= goal_cost < inf")


class Sst(WarmPlanner[SstParams, Landmarks]):
    """Grows one tree per plan, and evaluates the cheapest path through it, continued greedily to the horizon. The state
    remembers the landmarks of the last tree, for whoever wants to see them."""

    Params = SstParams
    needs = Measurable
    lqr_tolerance = 1.0  # held random actions: it is for finding the way, not for its last centimetre

    def improve(self, search: Search[Any], rng: np.random.Generator, memory: Landmarks | None) -> Landmarks | None:
        """Grow, and hand the cheapest path to the selection rule.

        Raises ValueError where `most_reward` is too small.
        """
        growing = _Growing(self.params, search, rng)
        growing.grow()
        growing.conclude()
        return growing.landmarks


class _Growing:
    """One search."""

    def __init__(self, params: SstParams, search: Search[Any], rng: np.random.Generator) -> None:
        problem = search.problem
        assert isinstance(problem, Measurable)
        self.params, self.search, self.rng, self.problem = params, search, rng, problem
        self.horizon, self.size = search.problem.horizon, search.problem.action_size
        self.seconds = params.hold * search.problem.dt  # over which speeds count
        actions = bounded(rng.standard_normal((int(min(params.tail, max(1, search.left / 4))), self.size)))
        actions[0] = 0.0  # a tie goes to the calmest
        self.tail = actions
        self.reserve = len(actions) + 1  # evaluations: the path must be continued and judged
        root = problem.root()
        self.tree = Growth(root, params.hold, self.size)
        point = problem.embedding(root, self.seconds).numpy()[0]
        self.landmarks = Landmarks(params.radius, len(point))
        self.landmarks.offer(0, point, 0.0)
        self.best = (True, np.inf, 0)  # of new paths: whether it ends midway, cost to the horizon, node where it ends

    def grow(self) -> None:
        """Simulate until the budget is used but for what the path takes that goes out."""
        self._references()
        while not self.search.past(GROWTH) and (parents := self._chosen()):
            actions = bounded(self.rng.standard_normal((len(parents), self.size)))
            steps = self._length(parents[0])
            self._follow(parents, np.repeat(actions[:, None], steps, 1))
            self.search.iterations += 1

    def conclude(self) -> None:
        """Evaluate the best path; the tree is whole then."""
        search, tree = self.search, self.tree
        if search.left >= self.reserve:  # late or not: what was found must be judged
            node, hold = self.best[2], self.params.hold
            row = torch.from_numpy(tree.nodes[node : node + 1])
            rest = lookahead(search, row, tree.time[node], self.tail, hold)
            search.iterations = max(search.iterations - 1, 0)  # the path belongs to the iteration that found it
            judged = search.evaluate(np.concatenate([tree.actions(node), rest])[None])
            search.iterations += 1
            tree.enter(node)
            violation, cost = judged.key(0)
            tree.leave(node, -cost if violation == 0 else None, violation)
        search.tree = tree.freeze(optimism=1.0)

    def _references(self) -> None:
        """What has been evaluated becomes the first paths, edge by edge."""
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
        """B nodes to grow from, some of them more than once, with edges of one length; fewer where there is no room.

        Then they are a power of two: other shapes would make a simulator build anew.
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
        """Control steps of an edge from `node`."""
        return min(self.params.hold, self.horizon - self.tree.time[node])

    def _room(self) -> float:
        """Control steps that the budget allows."""
        return (self.search.left - self.reserve) * self.horizon

    def _follow(self, parents: list[int], edges: np.ndarray, known: bool = False) -> list[int]:
        """Follow edges (B,k,A) from `parents`; where a path may go on, the node that it leads to, else -1.

        Raises ValueError where a step earned more than it should be able to.
        """
        tree, steps = self.tree, edges.shape[1]
        stepped = self.problem.step(torch.from_numpy(tree.nodes[parents]), torch.from_numpy(edges))
        self.search.spend(len(parents) * steps)
        violation, cost, done = stepped.violation, stepped.cost.numpy(), stepped.done.numpy()
        shifted(cost, (violation == 0) & np.isfinite(cost), steps, self.params.most_reward)  # refuses what is less
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
                # After the end nothing is earned: the cost above the least is that of a path to the horizon.
                above = tree.cost[node] + self.params.most_reward * self.horizon
                self.best = min(self.best, (False, above, node))
            found.append(node if goes_on or (known and safe and not whole) else -1)
        return found

    def _judge(self, node: int, point: np.ndarray, rate: float) -> bool:
        """Whether a path may go on at `node`, which its last edge reached at a cost of `rate` per step."""
        most = self.params.most_reward
        above = self.tree.cost[node] + most * self.tree.time[node]
        goal = rate + most <= self.params.goal_cost
        rest = (rate + most) * (self.horizon - self.tree.time[node])  # as if the last edge's cost went on
        self.best = min(self.best, (not goal, above + rest, node))
        return not goal and self.landmarks.offer(node, point, above)
