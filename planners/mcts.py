"""Monte-Carlo tree search over macro-actions, continuous or discrete.

Selection by PUCT: Rosin, "Multi-armed bandits with episode context", 2011; Silver et al., "Mastering the game of Go
without human knowledge", 2017. Values normalised by the least and greatest return seen: Schrittwieser et al., MuZero,
2020, equation 5; seen through the node at hand, not in the whole tree, where one terrible future would make all others
alike. Progressive widening: Couetoux et al., "Continuous upper confidence trees", 2011. Many simulations at
once with virtual loss: Chaslot, Winands & van den Herik, "Parallel Monte-Carlo tree search", 2008. Greatest return
mixed with the mean one, as futures are deterministic: Coulom, "Efficient selectivity and backup operators", 2006.

H control steps, K of an edge, A action size, B simulations under way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any, Literal, get_args

import numpy as np
import torch

from planners.capabilities import Steppable
from planners.params import Params
from planners.search.knots import bounded
from planners.search.noise import coloured
from planners.search.search import Search
from planners.search.warm import WarmPlanner
from planners.tree import Growth
from planners.trees.actions import DiscreteActions

Rollout = Literal["plan", "hold", "zero"]
ROLLOUTS: tuple[str, ...] = get_args(Rollout)
ATTEMPTS = 32  # selections in a row that may end where nothing new is allowed yet, before it is allowed after all


@dataclass(frozen=True)
class MctsParams(Params):
    """Parameters of the tree search; returns are normalised to [0,1] where `exploration` counts."""

    hold: int = 5  # control steps of an edge; the last one of a path may be shorter
    batch: int = 32  # B, simulations under way at once
    widening: float = 1.0  # k: a node of n visits has ceil(k n^alpha) children; more where nothing else is left to try
    exponent: float = 0.5  # alpha of the widening
    exploration: float = 1.0  # c of PUCT
    prior: float = 2.0  # weight of a reference's edges in the prior, a sampled edge having 1
    optimism: float = 0.9  # weight of the greatest return through a node in its value; the mean has the rest
    std: float = 0.5  # of a new edge around the best one beside it
    rollout: Rollout = "plan"  # beyond a new edge: the best plan known through its parent, the action held, or zero
    noise: float = 0.3  # standard deviation around it, held along each edge
    beta: float = 1.0  # colour of all noise, power 1/f^beta from edge to edge; 0 is white
    fresh: float = 0.3  # share of new paths that are noise alone, of standard deviation 1
    actions_per_dimension: int | None = None  # a grid of actions; None: continuous
    finalists: int = 4  # whole paths that are evaluated at the end, terminal cost included

    def __post_init__(self) -> None:
        self.require("hold", 1 <= self.hold <= 10_000, "1 to 10,000")
        self.require("batch", 1 <= self.batch <= 10_000, "1 to 10,000")
        self.require("widening", 0 < self.widening <= 1e6, "0 < widening <= 1,000,000")
        self.require("exponent", 0 <= self.exponent <= 1, "0 <= exponent <= 1")
        self.require("exploration", 0 <= self.exploration < np.inf, "0 <= exploration < inf")
        self.require("prior", 0 < self.prior < np.inf, "0 < prior < inf")
        self.require("optimism", 0 <= self.optimism <= 1, "0 <= optimism <= 1")
        self.require("std", 0 < self.std < np.inf, "0 < std < inf")
        self.require("rollout", self.rollout in ROLLOUTS, str(ROLLOUTS))
        self.require("noise", 0 <= self.noise < np.inf, "0 <= noise < inf")
        self.require("beta", 0 <= self.beta <= 20, "0 <= beta <= 20")
        self.require("fresh", 0 <= self.fresh <= 1, "0 <= fresh <= 1")
        number = self.actions_per_dimension
        self.require("actions_per_dimension", number is None or (number >= 3 and number % 2 == 1), "odd, >= 3, or None")
        self.require("finalists", 1 <= self.finalists <= 10_000, "1 to 10,000")


class Mcts(WarmPlanner[MctsParams, None]):
    """Grows one tree per plan from the references, and evaluates the best whole paths through it."""

    Params = MctsParams
    needs = Steppable
    lqr_tolerance = 0.15  # held actions, and noise that does not shrink

    def improve(self, search: Search[Any], rng: np.random.Generator, memory: None) -> None:
        """Grow, and hand the best paths to the selection rule, which alone knows their terminal cost.

        Raises ValueError for a discrete action set that is too large.
        """
        growing = _Growing(self.params, search, rng)
        growing.grow()
        search.iterations = max(search.iterations - 1, 0)  # the paths belong to the iteration that found the last
        search.evaluate(growing.finalists())
        search.iterations += 1
        search.tree = growing.tree.freeze(self.params.optimism)


@dataclass
class _Simulation:
    """One path under way to the horizon. Every edge that it takes becomes part of the tree."""

    node: int  # where its next edge leads
    actions: np.ndarray  # (h,A), that edge and what follows
    weight: float = 1.0  # of its edges in the prior
    known: bool = False  # whether the whole path is a candidate already


class _Growing:
    """One search. Simulations go on edge by edge, B of them in one call; who is done makes room for the next.

    So a call has nearly always the same shape, for which a simulator keeps its memory; and as every edge stays in the
    tree, none is simulated twice.
    """

    def __init__(self, params: MctsParams, search: Search[Any], rng: np.random.Generator) -> None:
        assert search.best is not None
        self.params, self.search, self.rng = params, search, rng
        self.horizon, self.size = search.problem.horizon, search.problem.action_size
        number = params.actions_per_dimension
        self.discrete = None if number is None else DiscreteActions(number, self.size)
        assert isinstance(search.problem, Steppable)
        self.follow = search.problem.step
        self.tree = Growth(search.problem.root(), params.hold, self.size)
        self.reserve = int(max(1, min(params.finalists, search.left / 4)))  # evaluations kept for the end
        self.steps = (search.left - self.reserve) * self.horizon  # not yet promised to a simulation
        self.feasible = search.best.key[0] == 0  # some way to the end is: whatever violates is pruned
        self.most = 0.0  # the greatest violation of a whole path
        self.ends: list[tuple[float, float, int]] = []  # violation, cost and node where new whole paths end
        self.plan = search.best.actions  # (H,A), the best reference

    # --- simulation -----------------------------------------------------------------------------------------------

    def grow(self) -> None:
        """Simulate until the budget is used, or everything has been tried."""
        under_way = self._references()
        while not self.search.late:
            while len(under_way) < self.params.batch and (one := self._begin()) is not None:
                under_way.append(one)
            if not under_way:
                break
            under_way = self._step(under_way)
            self.search.iterations += 1

    def _references(self) -> list[_Simulation]:
        """The references, which are all that has been evaluated, become the first paths."""
        assert self.search.best is not None
        rows = np.unique(self.search.best.batch.actions.numpy(), axis=0)
        return [self._set_out(0, row, self.params.prior, known=True) for row in rows if self._promise(0)]

    def _set_out(self, node: int, actions: np.ndarray, weight: float = 1.0, known: bool = False) -> _Simulation:
        """A simulation from `node` along actions (h,A)."""
        self.tree.enter(node)
        return _Simulation(self._add(node, actions, weight), actions, weight, known)

    def _add(self, node: int, actions: np.ndarray, weight: float) -> int:
        """The child of `node` along the first edge of actions (h,A)."""
        edge = actions[: self.params.hold]
        if self.discrete is not None:
            self.discrete.take(node, edge)
        return self.tree.add(node, edge, weight)

    def _begin(self) -> _Simulation | None:
        """Select a node that may have another child, and set out from it; None where there is none, or no room."""
        attempts = 0
        while not self.tree.closed[0]:
            node, found = self._select()
            attempts += 1
            if not found:
                if any(map(self._awaited, self.tree.children[node])):
                    return None
                if self.discrete is not None and self.discrete.exhausted(node):
                    self._close(node)
                    continue
                if attempts < ATTEMPTS:
                    self.tree.enter(node)  # a visit that finds nothing new counts, so that the bound widens in time
                    self.tree.leave(node, None, math.inf)
                    continue
            return self._set_out(node, self._actions(node)) if self._promise(node) else None
        return None

    def _promise(self, node: int) -> bool:
        """Whether there is room for a simulation from `node` to the horizon, which is then taken."""
        needed = self.horizon - self.tree.time[node]
        if self.steps < needed:
            return False
        self.steps -= needed
        return True

    def _step(self, under_way: list[_Simulation]) -> list[_Simulation]:
        """Take one edge of those that come first, in one call; return who goes on, those who waited first.

        A power of two of them, with edges of one length: other shapes would make a simulator build anew.
        """
        tree, hold = self.tree, self.params.hold
        length = min(hold, len(under_way[0].actions))
        group = [one for one in under_way if min(hold, len(one.actions)) == length]
        group = group[: 1 << (len(group).bit_length() - 1)]
        chosen = {one.node for one in group}
        waiting = [one for one in under_way if one.node not in chosen]
        starts = [tree.parent[one.node] for one in group]
        actions = np.stack([one.actions[:length] for one in group])
        stepped = self.follow(torch.from_numpy(tree.nodes[starts]), torch.from_numpy(actions))
        self.search.spend(len(group) * length)
        violation, cost = stepped.violation, stepped.cost.detach().numpy()
        done, nodes = stepped.done.numpy(), stepped.nodes.detach().numpy()
        for row, one in enumerate(group):
            tree.arrive(one.node, nodes[row], float(cost[row]), float(violation[row]))
            one.actions = one.actions[length:]
        return waiting + [one for row, one in enumerate(group) if self._goes_on(one, bool(done[row]))]

    def _goes_on(self, one: _Simulation, done: bool) -> bool:
        """Whether the path has another edge, which it then sets out on; otherwise the tree learns how it ended."""
        tree, node = self.tree, one.node
        violation, cost = tree.violation[node], tree.cost[node]
        whole = violation < math.inf and (done or len(one.actions) == 0)
        if violation < math.inf and not whole and not (violation > 0 and self.feasible):
            one.node = self._add(node, one.actions, one.weight)
            return True
        self.steps += len(one.actions)
        self._close(node)
        tree.leave(node, -cost if whole and violation == 0 else None, violation if whole else math.inf)
        if whole:
            self.feasible |= violation == 0
            self.most = max(self.most, violation)
            if not one.known:
                self.ends.append((violation, cost, node))
        return False

    def _close(self, node: int) -> None:
        """Nothing new lies beyond `node`; nor then beyond a parent whose every action is closed."""
        tree = self.tree
        tree.closed[node] = True
        parent = tree.parent[node]
        if self.discrete is None or parent < 0 or not self.discrete.exhausted(parent):
            return
        if all(tree.closed[kid] for kid in tree.children[parent]):
            self._close(parent)

    # --- selection ------------------------------------------------------------------------------------------------

    def _select(self) -> tuple[int, bool]:
        """The first node on the most promising way down that may have another child; False where the way just ends."""
        node = 0
        while not self._may_widen(node):
            known = [kid for kid in self.tree.children[node] if self._selectable(kid)]
            if not known:
                return node, False
            node = self._best(node, known)
        return node, True

    def _may_widen(self, node: int) -> bool:
        """Progressive widening; this visit counts, and so do simulations under way."""
        tree, p = self.tree, self.params
        visits = tree.visits[node] + tree.pending[node] + 1
        if len(tree.children[node]) >= math.ceil(p.widening * visits**p.exponent):
            return False
        return self.discrete is None or not self.discrete.exhausted(node)

    def _selectable(self, kid: int) -> bool:
        """Whether a simulation may go through `kid`: not through one that is pruned, exhausted, or not yet reached."""
        tree = self.tree
        return not (tree.closed[kid] or self._awaited(kid) or (self.feasible and tree.violation[kid] > 0))

    def _awaited(self, kid: int) -> bool:
        """Whether the edge to it is still to be simulated."""
        return self.tree.cost[kid] == math.inf

    def _best(self, node: int, known: list[int]) -> int:
        """PUCT among the children `known`: normalised value + c * prior * sqrt(n) / (1 + visits)."""
        tree = self.tree
        weights = sum(tree.weight[kid] for kid in tree.children[node])
        reach = self.params.exploration * math.sqrt(tree.visits[node] + tree.pending[node]) / weights
        low, high = (tree.worst[node], tree.best[node]) if self.feasible else (-self.most, -tree.least_violation[node])
        scale = 1 / (high - low) if high > low else 0.0

        def score(kid: int) -> float:
            visits = tree.visits[kid] + tree.pending[kid]
            merit = self._merit(kid)
            value = (merit - low) * scale * tree.visits[kid] / visits if math.isfinite(merit) else 0.0
            return value + reach * tree.weight[kid] / (1 + visits)

        return max(known, key=score)

    def _merit(self, node: int) -> float:
        """What is made great: the return, or where nothing is feasible, minus the violation. Not finite: unknown."""
        return self.tree.value(node, self.params.optimism) if self.feasible else -self.tree.least_violation[node]

    # --- new paths ------------------------------------------------------------------------------------------------

    def _actions(self, node: int) -> np.ndarray:
        """From a node to the horizon (h,A): a new edge, and the rollout beyond it."""
        p, rng = self.params, self.rng
        hold, rest = p.hold, self.horizon - self.tree.time[node]
        offsets = coloured(rng, p.beta, 1, -(-rest // hold), self.size)[0]
        if rng.random() < p.fresh:
            base = np.zeros((rest, self.size))
        else:
            base = self._plan_through(node)
            offsets[0] *= p.std
            offsets[1:] *= p.noise
            if p.rollout != "plan":
                base[hold:] = base[:hold][-1] + offsets[0] if p.rollout == "hold" else 0.0
        if self.discrete is not None:
            chosen = self.discrete.untried(node, rng)
            base[: rest if p.rollout == "hold" else hold], offsets[0] = chosen, 0.0
        actions = bounded(base + np.repeat(offsets, hold, 0)[:rest])
        return actions if self.discrete is None else self.discrete.nearest(actions, hold)

    def _plan_through(self, node: int) -> np.ndarray:
        """A copy of the best known actions from `node` to the horizon, (h,A)."""
        best = self.tree.continuation(node, self.feasible)
        rest = self.plan[self.tree.time[node] + len(best) :]
        return np.concatenate([best, rest])

    def finalists(self) -> np.ndarray:
        """The best new whole paths (F,H,A) by violation and cost, and where they are few, plans around the best one."""
        found = [self._whole(end) for _, _, end in nsmallest(self.reserve, self.ends)]
        while len(found) < self.reserve:
            found.append(self._around_plan())
        return np.stack(found)

    def _around_plan(self) -> np.ndarray:
        """The best reference (H,A) with noise on it, in the tree's own terms."""
        p = self.params
        offsets = p.std * coloured(self.rng, p.beta, 1, -(-self.horizon // p.hold), self.size)[0]
        actions = bounded(self.plan + np.repeat(offsets, p.hold, 0)[: self.horizon])
        return actions if self.discrete is None else self.discrete.nearest(actions, p.hold)

    def _whole(self, end: int) -> np.ndarray:
        """The actions of a path (H,A), the last one held where the episode ended before the horizon."""
        actions = self.tree.actions(end)
        return actions[np.minimum(np.arange(self.horizon), len(actions) - 1)]
