"""Monte-Carlo tree search over macro-actions, continuous or discrete.

Selection by PUCT: Rosin, "Multi-armed bandits with episode context", 2011; Silver et al., "Mastering the game of Go
without human knowledge", 2017.
Values are normalised by the smallest and largest return: Schrittwieser et al., MuZero, 2020, equation 5. These are the
returns through the current node, not those of the whole tree, where one very bad path would make all other values
nearly equal.
Progressive widening: Couetoux et al., "Continuous upper confidence trees", 2011.
Many parallel simulations with virtual loss: Chaslot, Winands & van den Herik, "Parallel Monte-Carlo tree search", 2008.
Backups mix the maximum and the mean return, because the dynamics are deterministic: Coulom, "Efficient selectivity and
backup operators", 2006.

H control steps, K control steps of an edge, A action size, B simulations under way.
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
ATTEMPTS = 32  # after so many selections in a row that end at a node that may not widen yet, the node widens anyway


@dataclass(frozen=True)
class MctsParams(Params):
    """Parameters of the tree search."""

    hold: int = 5  # control steps of an edge; the last edge of a path may be shorter
    batch: int = 32  # B, simulations under way at once
    widening: float = 1.0  # k: a node with n visits has ceil(k n^alpha) children; more if nothing else is left to try
    exponent: float = 0.5  # alpha of the widening
    exploration: float = 1.0  # c of PUCT, for returns normalised to [0,1]
    prior: float = 2.0  # prior weight of a reference's edges; a sampled edge has 1
    optimism: float = 0.9  # weight of the largest return in a node's value; the mean return has the rest
    std: float = 0.5  # of the noise on a new edge, around the best known edge from the same node
    rollout: Rollout = "plan"  # after a new edge: the best plan through its parent, the edge's action held, or zero
    noise: float = 0.3  # of the noise on the rollout, standard deviation; constant along each edge
    beta: float = 1.0  # colour of all noise, power 1/f^beta from edge to edge; 0 is white
    fresh: float = 0.3  # share of new paths that are pure noise, with standard deviation 1
    actions_per_dimension: int | None = None  # discrete actions: values per dimension; None: continuous
    finalists: int = 4  # complete paths evaluated at the end, terminal cost included

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
    """Grows one tree per plan, beginning with the references, and evaluates its best complete paths.

    MCTS with AlphaZero's selection (PUCT, a relative of UCT) but no network; progressive widening for continuous
    actions.
    """

    Params = MctsParams
    needs = Steppable
    lqr_tolerance = 0.15  # because actions are held and the noise does not shrink

    def improve(self, search: Search[Any], rng: np.random.Generator, memory: None) -> None:
        """Grow the tree, and evaluate its best paths as candidates; only this adds their terminal costs.

        Raises ValueError if the discrete action set is too large.
        """
        growing = _Growing(self.params, search, rng)
        growing.grow()
        search.iterations = max(search.iterations - 1, 0)  # record the paths under the last iteration
        search.evaluate(growing.finalists())
        search.iterations += 1
        search.tree = growing.tree.freeze(self.params.optimism)


@dataclass
class _Simulation:
    """A path on its way to the horizon; all its edges are added to the tree."""

    node: int  # the node that its next edge leads to
    actions: np.ndarray  # (h,A), of that edge and all later ones
    weight: float = 1.0  # prior weight of its edges
    known: bool = False  # whether the complete path has been evaluated already, as a reference


class _Growing:
    """One search: B simulations advance by one edge per batched call; a new one replaces each finished one.

    So nearly all calls have the same shape, for which a simulator keeps its buffers. No edge is simulated twice,
    because all edges stay in the tree.
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
        self.steps = (search.left - self.reserve) * self.horizon  # control steps not yet reserved by a simulation
        self.feasible = search.best.key[0] == 0  # whether a feasible complete path is known; then violations are pruned
        self.most = 0.0  # the largest violation of a complete path
        self.ends: list[tuple[float, float, int]] = []  # (violation, cost, end node) of new complete paths
        self.plan = search.best.actions  # (H,A), the best reference

    # --- simulation -----------------------------------------------------------------------------------------------

    def grow(self) -> None:
        """Simulate until the budget is used up, or everything has been tried."""
        under_way = self._references()
        while not self.search.late:
            while len(under_way) < self.params.batch and (one := self._begin()) is not None:
                under_way.append(one)
            if not under_way:
                break
            under_way = self._step(under_way)
            self.search.iterations += 1

    def _references(self) -> list[_Simulation]:
        """Start a simulation for each reference; so far, only references have been evaluated."""
        assert self.search.best is not None
        rows = np.unique(self.search.best.batch.actions.numpy(), axis=0)
        return [self._set_out(0, row, self.params.prior, known=True) for row in rows if self._promise(0)]

    def _set_out(self, node: int, actions: np.ndarray, weight: float = 1.0, known: bool = False) -> _Simulation:
        """Start a simulation from `node` along actions (h,A)."""
        self.tree.enter(node)
        return _Simulation(self._add(node, actions, weight), actions, weight, known)

    def _add(self, node: int, actions: np.ndarray, weight: float) -> int:
        """Add the child of `node` along the first edge of actions (h,A)."""
        edge = actions[: self.params.hold]
        if self.discrete is not None:
            self.discrete.take(node, edge)
        return self.tree.add(node, edge, weight)

    def _begin(self) -> _Simulation | None:
        """Select a node that may have another child, and start a simulation from it.

        None if there is no such node, if selection must wait for pending edges, or if the budget is too small.
        """
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
                    self.tree.enter(node)  # count the visit, so that widening allows another child sooner
                    self.tree.leave(node, None, math.inf)
                    continue
            return self._set_out(node, self._actions(node)) if self._promise(node) else None
        return None

    def _promise(self, node: int) -> bool:
        """Reserve the control steps from `node` to the horizon; False if the budget does not allow it."""
        needed = self.horizon - self.tree.time[node]
        if self.steps < needed:
            return False
        self.steps -= needed
        return True

    def _step(self, under_way: list[_Simulation]) -> list[_Simulation]:
        """Simulate the next edge of a group of simulations, in one call.

        The group has edges of one length, and its size is a power of two, because a simulator may rebuild its buffers
        for every new batch shape.
        Returns the simulations still under way, those outside the group first.
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
        """Start the next edge of a path, and return True; or back up its result if it has ended, and return False."""
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
        """Mark `node` as closed: nothing new can be found below it.

        Its parent is closed as well if all actions of the discrete set lead to closed nodes.
        """
        tree = self.tree
        tree.closed[node] = True
        parent = tree.parent[node]
        if self.discrete is None or parent < 0 or not self.discrete.exhausted(parent):
            return
        if all(tree.closed[kid] for kid in tree.children[parent]):
            self._close(parent)

    # --- selection ------------------------------------------------------------------------------------------------

    def _select(self) -> tuple[int, bool]:
        """Descend from the root by PUCT to the first node that may have another child, and return it with True.

        If the descent ends at a node without selectable children, return that node with False.
        """
        node = 0
        while not self._may_widen(node):
            known = [kid for kid in self.tree.children[node] if self._selectable(kid)]
            if not known:
                return node, False
            node = self._best(node, known)
        return node, True

    def _may_widen(self, node: int) -> bool:
        """Whether progressive widening allows another child; this visit and pending simulations count as visits."""
        tree, p = self.tree, self.params
        visits = tree.visits[node] + tree.pending[node] + 1
        if len(tree.children[node]) >= math.ceil(p.widening * visits**p.exponent):
            return False
        return self.discrete is None or not self.discrete.exhausted(node)

    def _selectable(self, kid: int) -> bool:
        """Whether a simulation may go through `kid`: it is not pruned, not closed, and its edge has been simulated."""
        tree = self.tree
        return not (tree.closed[kid] or self._awaited(kid) or (self.feasible and tree.violation[kid] > 0))

    def _awaited(self, kid: int) -> bool:
        """Whether the edge to `kid` has not been simulated yet."""
        return self.tree.cost[kid] == math.inf

    def _best(self, node: int, known: list[int]) -> int:
        """The child in `known` with the largest PUCT score: normalised value + c * prior * sqrt(n) / (1 + visits)."""
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
        """The value to maximise: the return, or minus the violation while no path is feasible.

        It is not finite if unknown.
        """
        return self.tree.value(node, self.params.optimism) if self.feasible else -self.tree.least_violation[node]

    # --- new paths ------------------------------------------------------------------------------------------------

    def _actions(self, node: int) -> np.ndarray:
        """New actions from `node` to the horizon, (h,A): a new edge, then the rollout."""
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
        """The best new complete paths (F,H,A), by violation and cost.

        If there are too few, plans with noise around the best reference are added.
        """
        found = [self._whole(end) for _, _, end in nsmallest(self.reserve, self.ends)]
        while len(found) < self.reserve:
            found.append(self._around_plan())
        return np.stack(found)

    def _around_plan(self) -> np.ndarray:
        """The best reference (H,A) with noise, held along each edge and rounded to the discrete actions if any."""
        p = self.params
        offsets = p.std * coloured(self.rng, p.beta, 1, -(-self.horizon // p.hold), self.size)[0]
        actions = bounded(self.plan + np.repeat(offsets, p.hold, 0)[: self.horizon])
        return actions if self.discrete is None else self.discrete.nearest(actions, p.hold)

    def _whole(self, end: int) -> np.ndarray:
        """The actions of the path to `end`, (H,A); if the episode ended before the horizon, the last one is held."""
        actions = self.tree.actions(end)
        return actions[np.minimum(np.arange(self.horizon), len(actions) - 1)]
