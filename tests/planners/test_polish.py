"""A sampled plan refined by iLQR: each part does what it would do alone, with its share of the budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from agent.config.load import load
from agent.rollouts import episode, player
from planners import registry
from planners.cem import Cem, CemParams
from planners.icem import Icem, IcemParams
from planners.problem import Budget, Problem
from planners.sampling.base import SamplingPlanner
from planners.search.knots import spline
from tests.planners.test_gradient import Glider, TimedGlider, planned

SAMPLING = [name for name in registry.table() if issubclass(registry.load(name), SamplingPlanner)]


class Blind:
    """A problem without expansions of its dynamics."""

    def __init__(self, problem: Glider) -> None:
        self.horizon, self.action_size, self.dt = problem.horizon, problem.action_size, problem.dt
        self.proposals, self.evaluate, self.imagine = problem.proposals, problem.evaluate, problem.imagine


@pytest.mark.parametrize(
    ("problem", "evaluations"),
    [(Glider(), 40), (Blind(Glider()), 300)],  # one step of a descent costs 20 evaluations here, and its references 3
    ids=["no room", "no expansion"],
)
def test_where_it_cannot_descend_it_searches(problem: Problem[Any], evaluations: int) -> None:
    alone, polished = Icem(), Icem(IcemParams(descent=0.5))
    one, other = alone.start(3), polished.start(3)
    for _ in range(3):
        plan, one = alone.plan(one, problem, Budget(evaluations=evaluations))
        same, other = polished.plan(other, problem, Budget(evaluations=evaluations))
        assert torch.equal(plan.actions, same.actions)
        assert plan.statistics.evaluations == same.statistics.evaluations
        one, other = alone.advance(one, 1), polished.advance(other, 1)


def test_seconds_too_few_for_a_step_of_a_descent_are_searched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, planner = TimedGlider(), Icem(IcemParams(descent=0.5))
    monkeypatch.setattr("planners.search.search.perf_counter", lambda: problem.now)
    state = planner.start(3)
    _, state = planner.plan(state, problem, Budget(seconds=0.04))  # the first plan cannot know how long a step takes
    monkeypatch.setattr(problem, "linearise", None)
    for _ in range(3):
        plan, state = planner.plan(planner.advance(state, 1), problem, Budget(seconds=0.04))
        assert plan.statistics.seconds == pytest.approx(0.04, abs=0.002)


def test_where_the_search_has_used_all_the_seconds_it_goes_on_as_it_would_alone() -> None:
    late = Budget(seconds=1e-9)  # over after the first iteration
    _, alone = Icem().plan(Icem().start(3), Glider(), late)
    _, state = Icem(IcemParams(descent=0.5)).plan(Icem().start(3), Glider(), late)
    assert_array_equal(state.distribution.mean, alone.distribution.mean)


@pytest.mark.parametrize("name", SAMPLING)
def test_the_descent_begins_where_the_search_ended(name: str) -> None:
    budget, share = 300, 0.4
    plan = planned(name, Glider(), budget, descent=share)
    assert plan.cost < planned(name, Glider(), budget - round(share * budget)).cost
    assert plan.cost == pytest.approx(planned("ilqr", Glider()).cost, rel=1e-6)
    assert 0.9 * budget <= plan.statistics.evaluations <= budget


def test_a_guardrail_holds_where_it_binds() -> None:
    problem = Glider(start=(0.16, 0.1), ceiling=0.165)  # without it, up to 0.1655
    plan = planned("icem", problem, 400, plans=2, descent=0.5)
    assert plan.feasible
    assert plan.margin.item() < 1e-3
    assert plan.cost < planned("icem", problem, 200, plans=2).cost


def test_all_that_was_evaluated_is_there_in_order() -> None:
    plan = planned("icem", Glider(), 300, descent=0.7)
    assert plan.population is not None
    iterations = plan.population.iteration.numpy()
    assert (np.diff(iterations) >= 0).all()
    assert iterations[-1] <= plan.statistics.iterations
    assert plan.cost == plan.population.cost.min().item()
    assert plan.statistics.source == "descent"
    searched = planned("icem", Glider(), 300 - 210).population
    assert searched is not None
    assert torch.equal(plan.population.actions[: len(searched.actions)], searched.actions)


def test_the_next_search_begins_around_the_plan() -> None:
    planner = Cem(CemParams(knots=5, descent=0.5))
    plan, state = planner.plan(planner.start(0), Glider(), Budget(evaluations=300))
    assert state.previous is not None
    assert state.distribution is not None
    np.testing.assert_array_equal(state.previous, plan.actions.numpy())
    fitted = spline("linear", 5, Glider().horizon).fit(plan.actions.numpy().copy())
    np.testing.assert_array_equal(state.distribution.mean, fitted)


def test_seconds_are_shared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, half = TimedGlider(), 0.1
    monkeypatch.setattr("planners.search.search.perf_counter", lambda: problem.now)
    planner = Icem(IcemParams(descent=0.5))
    plan, state = planner.plan(planner.start(0), problem, Budget(seconds=2 * half))
    plan, _ = planner.plan(planner.advance(state, 1), problem, Budget(seconds=2 * half))
    assert plan.cost == pytest.approx(planned("ilqr", Glider()).cost, rel=1e-6)
    assert plan.population is not None
    searched = int((plan.population.iteration < 3).sum())  # a round; then the descent
    assert abs(1e-3 * searched - half) <= 0.03
    assert plan.statistics.seconds <= 2 * half + 0.02 / 2  # half a step of the descent, which converges


def test_costs_that_look_back_leave_all_to_the_search() -> None:
    overrides = {"cost.action_rate": 0.1, "planner.budget": {"evaluations": 195}, "frames": 2, "video": False}
    config = load(task="dm_control/acrobot-swingup-v0", overrides=overrides)
    assert config.planner.params["descent"] > 0
    agent, world = player.made(config)
    result = episode.run(agent, world, 0, 0, 2)
    world.env.close()
    assert len(result.steps) == 2


@pytest.mark.parametrize("share", [1.0, -0.1, float("nan")])
def test_a_share_leaves_something_to_the_search(share: float) -> None:
    with pytest.raises(ValueError, match=r"descent.*0 <= descent < 1"):
        IcemParams(descent=share)
