"""Weights, discount and other packages' terms of the objective, and plans that are kept for several steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agent import build
from agent.config.config import Config
from agent.cost.objective import Objective
from agent.rollouts import episode
from envs.errors import TelosError
from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Signals, Trajectory, no_doubt

CARTPOLE = "dm_control/cartpole-swingup-v0"
PLANNER = {"horizon": 6, "budget": {"evaluations": 24}, "params": {"knots": 3}}


def config(**more: Any) -> Config:
    return Config.model_validate({"task": CARTPOLE, "planner": PLANNER, "threads": 1, **more})


@dataclass(frozen=True)
class One:
    """A cost of 1 per step, in float32 as a network's would be, and a terminal cost of 1."""

    requests: tuple[Request, ...] = ()
    reads_states: bool = True

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        return torch.ones(trajectory.actions.shape[:2], dtype=torch.float32)

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        return torch.ones(len(trajectory.actions), dtype=torch.float32)


def path(horizon: int = 3) -> Trajectory:
    actions = torch.zeros(2, horizon, 1, dtype=torch.float64)
    states = torch.zeros(2, horizon + 1, 1)
    return Trajectory(states, actions, Signals(), torch.ones(2, dtype=torch.bool), no_doubt(actions), 0.1)


def test_a_discount_counts_steps_and_the_critic_beyond_them() -> None:
    objective = Objective(((2.0, One()),), One(), critic_weight=3.0, discount=0.5)
    assert objective.step_cost(path(), TaskParams()).tolist() == [[2.0, 1.0, 0.5]] * 2
    assert objective.terminal_cost(path(), TaskParams()).tolist() == [3 * 0.125] * 2
    assert objective.step_cost(path(), TaskParams()).dtype == torch.float64, "planners read float64"


def test_what_an_objective_reads_follows_from_terms_that_count() -> None:
    assert Objective(((1.0, One()),)).reads_states
    assert not Objective(((0.0, One()),)).reads_states
    assert Objective((), One()).reads_states


@pytest.mark.parametrize("discount", [0.0, -0.5, 1.1, float("nan")])
def test_a_discount_is_a_fraction(discount: float) -> None:
    with pytest.raises(TelosError, match=r"cost\.discount"):
        Objective((), discount=discount)


def test_a_planner_that_branches_refuses_a_discount_by_name() -> None:
    env = build.environment(config())
    given = config(planner={"kind": "mcts", "horizon": 6, "budget": {"evaluations": 24}}, cost={"discount": 0.9})
    agent, world = build.agent(given, env.task, env.interface), build.world(given, env)
    agent.reset(0)
    with pytest.raises(TelosError, match=r"cost\.discount: given 0\.9; allowed: 1, as this plan branches"):
        agent.act(world.reset(0))


def test_a_discount_changes_a_plan_and_no_margin() -> None:
    rule = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -0.9, "upper": 0.9, "unit": "m"}
    evaluations = []
    for discount in (1.0, 0.5):
        given = config(guardrails=[rule], cost={"discount": discount})
        env = build.environment(given)
        agent, world = build.agent(given, env.task, env.interface), build.world(given, env)
        agent.reset(0)
        problem = agent.act(world.reset(0)).problem
        evaluations.append(problem.evaluate(torch.full((1, 6, 1), 0.3, dtype=torch.float64)))
    plain, discounted = evaluations
    factors = 0.5 ** torch.arange(6, dtype=torch.float64)
    torch.testing.assert_close(discounted.step_cost, factors * plain.step_cost)
    assert torch.equal(discounted.margin, plain.margin)


# --- terms of other packages -----------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        dist, name, value = None, "one", "their_costs:One"

    monkeypatch.setattr("envs.table.plug_ins", lambda group: (Point(),) if group == "telos.costs" else ())
    monkeypatch.setitem(__import__("sys").modules, "their_costs", type("M", (), {"One": One}))


@pytest.mark.usefixtures("installed")
def test_another_packages_term_is_named_in_the_config() -> None:
    agent = build.agent(config(cost={"task": 0.0, "terms": {"one": 2.0}}))
    weights = {type(term).__name__: weight for weight, term in agent.objective.terms}
    assert weights["One"] == 2.0
    rule = {"quantity": "step", "above": 0, "weights": {"one": 5.0}}
    assert build.agent(config(cost={"terms": {"one": 2.0}}, configurator={"rules": [rule]})).configurator.rules


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("terms", "said"), [({"ones": 1.0}, "did you mean 'one'"), ({"effort": 1.0}, r"cost\.effort is a field")]
)
def test_a_term_that_is_none_of_theirs_is_refused(terms: dict[str, float], said: str) -> None:
    with pytest.raises(TelosError, match=said):
        build.agent(config(cost={"terms": terms}))


# --- plans that are kept ---------------------------------------------------------------------------------------


def test_a_plan_is_executed_for_as_many_steps_as_asked() -> None:
    given = config(planner={**PLANNER, "replan_every": 3})
    env = build.environment(given)
    agent, world = build.agent(given, env.task, env.interface), build.world(given, env)
    decisions: list[Any] = []
    result = episode.run(agent, world, 0, 0, 7, witness=lambda _, decision: decisions.append(decision))
    ages = [round(decision.age / agent.model.dt) for decision in decisions]
    assert ages == [0, 1, 2, 0, 1, 2, 0]
    for first in (0, 3):
        plan = decisions[first].plan.actions.numpy()
        for age in range(3):
            np.testing.assert_array_equal(result.steps[first + age].action, plan[age])
    assert [decision.plan_seconds > 0 for decision in decisions] == [age == 0 for age in ages]
    assert result.physics_steps == 3 * 24 * 6


def test_after_an_action_that_the_gate_refused_the_agent_plans_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from envs.guard.gate import Gate

    given = config(planner={**PLANNER, "replan_every": 5})
    env = build.environment(given)
    agent, world = build.agent(given, env.task, env.interface), build.world(given, env)
    check, calls = Gate.check, []

    def noted(self: Gate, start: Any, prefix: np.ndarray) -> Any:
        calls.append(1)
        verdict = check(self, start, prefix)
        return type(verdict)(False, "not today", verdict.back_up) if len(calls) == 2 else verdict

    monkeypatch.setattr(Gate, "check", noted)
    decisions: list[Any] = []
    episode.run(agent, world, 0, 0, 4, witness=lambda _, decision: decisions.append(decision))
    assert [round(decision.age / agent.model.dt) for decision in decisions] == [0, 1, 0, 1]


def test_a_plan_is_kept_no_longer_than_it_is() -> None:
    """Beyond its end its last action would be held, which no plan has judged."""
    with pytest.raises(ValueError, match=r"replan_every up to planner\.horizon, 6"):
        config(planner={**PLANNER, "replan_every": 7})
    rule = {"quantity": "step", "above": -1, "horizon": 2}
    given = config(planner={**PLANNER, "replan_every": 5}, configurator={"rules": [rule]})
    env = build.environment(given)
    agent, world = build.agent(given, env.task, env.interface), build.world(given, env)
    decisions: list[Any] = []
    episode.run(agent, world, 0, 0, 9, witness=lambda _, decision: decisions.append(decision))
    ages = [round(decision.age / agent.model.dt) for decision in decisions]
    assert ages == [0, 1, 0, 1, 0, 1, 0, 1, 0], "the rule shortens the horizon to 2 after the first decision"


def test_a_critic_of_weight_0_counts_for_nothing() -> None:
    class Endless:
        requests: tuple[Request, ...] = ()

        def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
            return torch.full((len(trajectory.actions),), torch.inf)

    objective = Objective(((1.0, One()),), Endless(), critic_weight=0.0)
    assert objective.terminal_cost(path(), TaskParams()).tolist() == [0.0, 0.0]
