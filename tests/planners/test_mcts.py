"""Tree search finds the optimum of exhaustive search, keeps its own rules, and returns a correct tree."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import registry
from planners.capabilities import Stepped
from planners.problem import Budget, Evaluation, Limits, Plan
from planners.tree import Tree
from tests.planners.conftest import Clock

SPEED = 0.1  # m per control step at full action


@dataclass
class Walk:
    """A point on a line, moved by each action. A node is (time, x, ended). It records the shapes of questions."""

    cost: Callable[[Tensor, Tensor, Tensor], Tensor]  # of time, x after the step and action, (N,) each
    margin: Callable[[Tensor], Tensor] | None = None  # of x
    ends: Callable[[Tensor], Tensor] = field(default=lambda x: torch.zeros_like(x, dtype=torch.bool))  # of x
    horizon: int = 12
    action_size: int = 1
    dt: float = 0.1
    fallback: float = 0.0
    evaluated: int = 0
    shapes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def proposals(self) -> dict[str, Tensor]:
        return {"fallback": torch.full((self.horizon, self.action_size), self.fallback, dtype=torch.float64)}

    @property
    def limits(self) -> Limits:
        size = 0 if self.margin is None else 1
        return Limits(torch.zeros(size, dtype=torch.float64), torch.ones(size, dtype=torch.float64))

    def root(self) -> Tensor:
        return torch.zeros(1, 3, dtype=torch.float64)

    def step(self, nodes: Tensor, actions: Tensor) -> Stepped:
        self.shapes.append((actions.shape[0], actions.shape[1]))
        costs, margin, nodes = self._follow(nodes, actions)
        valid = torch.ones(len(nodes), dtype=torch.bool)
        return Stepped(nodes, costs.sum(1), margin, nodes[:, 2] > 0, valid, self.limits)

    def evaluate(self, actions: Tensor) -> Evaluation:
        self.evaluated += len(actions)
        costs, margin, nodes = self._follow(self.root().repeat(len(actions), 1), actions)
        return Evaluation(costs, torch.zeros(len(nodes)), margin, torch.ones(len(nodes), dtype=torch.bool), self.limits)

    def imagine(self, actions: Tensor) -> None:
        raise NotImplementedError

    def _follow(self, nodes: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert actions.abs().max() <= 1
        time, x, ended = nodes.clone().T
        costs, margins = [], []
        for t in range(actions.shape[1]):
            x = x + SPEED * actions[:, t].sum(1)
            costs.append(torch.where(ended > 0, 0.0, self.cost(time, x, actions[:, t, 0])))
            margins.append(torch.zeros(len(x), 0) if self.margin is None else self.margin(x)[:, None])
            ended = torch.maximum(ended, self.ends(x).double())
            time = time + 1
        return torch.stack(costs, 1), torch.stack(margins).amin(0), torch.stack([time, x, ended], 1)


def rugged(time: Tensor, x: Tensor, action: Tensor) -> Tensor:
    return torch.sin(9 * x + 1.7 * time) + 0.3 * torch.cos(31 * x - time)


def planned(problem: Any, evaluations: int = 150, seed: int = 0, **params: Any) -> tuple[Plan[Any], Tree]:
    planner = registry.make("mcts", **{"hold": 3, "batch": 8, **params})
    plan, _ = planner.plan(planner.start(seed), problem, Budget(evaluations=evaluations))
    assert plan.tree is not None
    return plan, plan.tree


def children(tree: Tree) -> list[np.ndarray]:
    return [np.flatnonzero(tree.parent == node) for node in range(len(tree.parent))]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("batch", [1, 8, 64])
def test_the_best_of_all_leaves_is_found(seed: int, batch: int) -> None:
    problem = Walk(rugged)
    leaves = np.array(list(product([-1.0, 0.0, 1.0], repeat=4)))
    costs = problem.evaluate(torch.from_numpy(np.repeat(leaves, 3, 1)[:, :, None])).cost
    assert (costs < costs.min() + 0.5).sum() < 5, "the test needs a best leaf that is hard to find"
    plan, tree = planned(problem, 500, seed, actions_per_dimension=3, batch=batch)
    assert plan.cost == pytest.approx(costs.min().item(), abs=1e-12)
    assert len(tree.parent) == 1 + 3 + 9 + 27 + 81, "and then nothing is left to try, twice nothing"
    assert plan.statistics.evaluations < 81


def test_it_knows_where_to_look() -> None:
    """It beats random shooting with as many paths, on a problem with many local minima."""

    def blind(seed: int) -> float:
        planner = registry.make("random_shooting", knots=6, interpolation="zero")
        return planner.plan(planner.start(seed), Walk(rugged, horizon=18), Budget(evaluations=150))[0].cost

    costs = [planned(Walk(rugged, horizon=18), seed=seed)[0].cost for seed in range(8)]
    assert np.mean(costs) < np.mean([blind(seed) for seed in range(8)]) - 0.4


def test_visits_add_up() -> None:
    _, tree = planned(Walk(rugged, horizon=18))
    inside = [node for node in range(len(tree.parent)) if tree.time[node] < 15]
    assert len(inside) > 50
    for node in inside:  # deeper, a visit may find all children at the horizon
        assert tree.visits[node] == tree.visits[tree.parent == node].sum()
    assert (tree.visits[tree.time == 18] == 1).all()
    assert tree.visits[0] >= (tree.time == 18).sum()


@pytest.mark.parametrize(("widening", "exponent"), [(1.0, 0.5), (2.0, 0.3), (0.5, 0.8)])
def test_nodes_widen_no_faster_than_allowed(widening: float, exponent: float) -> None:
    _, tree = planned(Walk(rugged), widening=widening, exponent=exponent)
    kids = children(tree)
    for node, visits in enumerate(tree.visits):
        assert len(kids[node]) <= math.ceil(widening * visits**exponent)
    assert len(kids[0]) >= math.ceil(widening * tree.visits[0] ** exponent) - 1, "the bound is used"


def test_what_breaks_a_guardrail_is_never_visited_again() -> None:
    problem = Walk(lambda time, x, action: -x, margin=lambda x: 0.45 - x)
    plan, tree = planned(problem)
    pruned = np.flatnonzero(~tree.feasible)
    assert len(pruned) > 5, "the test needs a temptation"
    assert (tree.visits[pruned] == 1).all()
    assert not np.isin(tree.parent, pruned).any()
    assert np.isnan(tree.value[pruned]).all()
    assert plan.feasible
    assert plan.margin.item() < 0.1, "it goes near what is forbidden"
    assert plan.cost < -3.0


def test_where_nothing_is_feasible_the_least_violation_is_followed() -> None:
    problem = Walk(lambda time, x, action: -x, margin=lambda x: -0.5 - (x + 0.8).abs())
    plan, tree = planned(problem)
    assert not plan.feasible
    assert not tree.feasible[1:].any()
    assert plan.margin.item() >= -1.21, "the first step is the worst; 0 where it is left at once"
    only_right = Walk(lambda time, x, action: x, margin=lambda x: x - 2.0, horizon=12)
    plan, _ = planned(only_right)  # the fastest way out has the least violation in its worst step
    assert plan.margin.item() > -1.95
    assert plan.actions[0].item() > 0.5


def test_infeasible_references_do_not_keep_from_a_feasible_path() -> None:
    problem = Walk(lambda time, x, action: x * 0.0, margin=lambda x: 0.05 - x, fallback=1.0)
    plan, tree = planned(problem)
    assert plan.feasible
    assert plan.statistics.source == "sample"
    assert tree.feasible.any()


def test_once_something_is_feasible_what_is_not_is_left() -> None:
    """The only reference breaks a guardrail midway and keeps it again later."""
    problem = Walk(lambda time, x, action: -x, margin=lambda x: (x - 0.3).abs() - 0.08, fallback=1.0)
    plan, tree = planned(problem, batch=1, exploration=5.0)
    assert plan.feasible
    (first, *_) = np.flatnonzero(tree.feasible & (tree.time == 12))
    late = np.arange(first + 1, len(tree.parent))
    assert (~tree.feasible[:first]).sum() > 3
    assert len(late) > 100
    assert tree.feasible[tree.parent[late]].all()
    for node in range(1, len(tree.parent)):
        actions = np.concatenate([tree.edge(one) for one in tree.path(node)])
        _, margin, _ = problem._follow(problem.root(), torch.from_numpy(actions[None]))
        assert tree.feasible[node] == (margin.item() >= 0)


def test_a_set_soon_exhausted_is_no_error() -> None:
    problem = Walk(rugged, horizon=3)
    plan, tree = planned(problem, 50, actions_per_dimension=3)
    assert len(tree.parent) == 4
    choices = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)[:, None, None].repeat(1, 3, 1)
    assert plan.cost <= problem.evaluate(choices).cost.min().item()


def test_the_tree_is_true() -> None:
    problem = Walk(rugged, margin=lambda x: 0.5 - x, horizon=13)  # the last edge is shorter
    plan, tree = planned(problem)
    assert len(tree.parent) > 300
    assert tree.parent[0] == -1
    assert (tree.parent[1:] < np.arange(1, len(tree.parent))).all()
    for node in range(1, len(tree.parent)):
        path = tree.path(node)
        actions = np.concatenate([tree.edge(one) for one in path])
        assert len(actions) == tree.time[node] <= 13
        costs, margin, nodes = problem._follow(problem.root(), torch.from_numpy(actions[None]))
        torch.testing.assert_close(nodes[0], tree.nodes[node], rtol=0, atol=1e-12)
        assert tree.feasible[node] == (margin.item() >= 0)
        if tree.time[node] == 13 and tree.feasible[node]:
            assert tree.value[node] == pytest.approx(-costs.sum().item())
    ends = np.flatnonzero(tree.feasible & (tree.time == 13))
    best = ends[np.argmax(tree.value[ends])]
    assert plan.cost == pytest.approx(-tree.value[best]), "the best path is what goes out"
    assert np.array_equal(np.concatenate([tree.edge(one) for one in tree.path(int(best))]), plan.actions.numpy())
    assert tree.action.shape == (len(tree.parent), 1)


def deceptive(time: Tensor, x: Tensor, action: Tensor) -> Tensor:
    """Going left earns a little at once; going right costs at first but leads to a large reward."""
    return torch.where(x >= 0.75, -4.0, torch.where(x > 0, 0.5, 0.2 * x))


@pytest.mark.parametrize(("number", "evaluations", "found"), [(3, 400, 10), (None, 400, 7)])
def test_a_bad_first_step_may_be_good(number: int | None, evaluations: int, found: int) -> None:
    problem = Walk(deceptive, horizon=15)
    first = problem.step(problem.root().repeat(2, 1), torch.tensor([-1.0, 1.0]).double()[:, None, None].repeat(1, 3, 1))
    assert first.cost[0] < 0 < first.cost[1], "the test needs a temptation"
    optimum = problem.evaluate(torch.ones(1, 15, 1, dtype=torch.float64)).cost.item()
    costs = [planned(problem, evaluations, seed, actions_per_dimension=number)[0].cost for seed in range(10)]
    assert sum(cost <= 0.5 * optimum for cost in costs) >= found


def test_nothing_follows_the_end_of_the_episode() -> None:
    problem = Walk(lambda time, x, action: 1.0 + 0 * x, ends=lambda x: x > 0.55)
    plan, tree = planned(problem)
    done = np.flatnonzero(tree.nodes[:, 2].numpy() > 0)
    assert len(done) > 5
    assert not np.isin(tree.parent, done).any()
    assert plan.cost <= 7, "the sooner it is over, the better"


@pytest.mark.parametrize("horizon", [12, 14])
@pytest.mark.parametrize("budget", [*range(1, 20), 60, 203])
def test_all_that_is_simulated_counts(horizon: int, budget: int) -> None:
    problem = Walk(rugged, horizon=horizon)
    plan, _ = registry.make("mcts", hold=3).plan(registry.make("mcts").start(0), problem, Budget(evaluations=budget))
    steps = sum(number * length for number, length in problem.shapes)
    assert plan.statistics.evaluations == problem.evaluated + math.ceil(steps / horizon)
    assert 0.9 * budget <= plan.statistics.evaluations <= budget


@pytest.mark.parametrize("horizon", [1, 2, 5])
@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_a_short_horizon_uses_its_budget_too(horizon: int, exponent: float) -> None:
    """Every child of the root may be a whole future, so there is always another action to try."""
    planner = registry.make("mcts", hold=5, exponent=exponent)
    plan, _ = planner.plan(planner.start(0), Walk(rugged, horizon=horizon), Budget(evaluations=400))
    assert 360 <= plan.statistics.evaluations <= 400


def test_calls_have_few_shapes() -> None:
    problem = Walk(rugged, horizon=14)
    _, tree = planned(problem, 300, batch=16)
    assert {number for number, _ in problem.shapes} <= {1, 2, 4, 8, 16}
    assert {length for _, length in problem.shapes} == {2, 3}
    assert sum(number for number, _ in problem.shapes) == len(tree.parent) - 1, "no edge is simulated twice"
    assert len(problem.shapes) < len(tree.parent) / 6


@pytest.mark.parametrize("rollout", ["plan", "hold", "zero"])
@pytest.mark.parametrize("number", [None, 3])
def test_rollouts_do_what_they_say(rollout: str, number: int | None) -> None:
    settings: dict[str, Any] = {"noise": 0.0, "fresh": 0.0, "actions_per_dimension": number}
    _, tree = planned(Walk(rugged, horizon=30), rollout=rollout, **settings)
    chain = [node for node in range(1, len(tree.parent)) if tree.visits[node] == 1 and tree.time[node] > 3]
    first = {node for node in chain if tree.visits[tree.parent[node]] > 1}
    beyond = [node for node in chain if node not in first]
    assert len(beyond) > 50
    held = [np.array_equal(tree.action[node], tree.action[tree.parent[node]]) for node in beyond]
    zero = [not tree.action[node].any() for node in beyond]
    assert all(held) == (rollout == "hold")
    assert all(zero) == (rollout == "zero")


def test_same_state_same_tree() -> None:
    one, other = (planned(Walk(rugged), seed=seed)[1] for seed in (3, 3))
    third = planned(Walk(rugged), seed=4)[1]
    assert np.array_equal(one.actions, other.actions)
    assert np.array_equal(one.visits, other.visits)
    assert not np.array_equal(one.actions, third.actions)


def test_seconds_are_anytime(clock: Clock) -> None:
    def timed(time: Tensor, x: Tensor, action: Tensor) -> Tensor:
        clock.now += 1e-3
        return rugged(time, x, action)

    planner = registry.make("mcts")
    problem = Walk(timed)
    plan, _ = planner.plan(planner.start(0), problem, Budget(seconds=0.2))
    assert 0.2 <= plan.statistics.seconds < 0.6
    assert plan.tree is not None
    assert (plan.tree.visits > 0).all()
    assert plan.cost < problem.evaluate(problem.proposals["fallback"][None]).cost.item() - 1
    assert plan.statistics.iterations > 10
    late, _ = planner.plan(planner.start(0), problem, Budget(seconds=1e-9))
    assert late.statistics.source == "fallback"
    assert late.tree is None


def test_what_is_not_allowed_is_said() -> None:
    class Blind:
        horizon, action_size, dt = 12, 1, 0.1

    planner = registry.make("mcts")
    with pytest.raises(ValueError, match=r"Mcts.plan: Blind, which is not Steppable"):
        planner.plan(planner.start(0), Blind(), Budget(evaluations=9))
    with pytest.raises(ValueError, match=r"actions_per_dimension: 4 given, allowed: odd"):
        registry.make("mcts", actions_per_dimension=4)
    with pytest.raises(ValueError, match=r"rollout"):
        registry.make("mcts", rollout="policy")
    with pytest.raises(ValueError, match=r"5 with 5 dimensions, 3,125 actions, given, allowed: at most 1,000 actions"):
        planned(Walk(rugged, action_size=5), actions_per_dimension=5)
