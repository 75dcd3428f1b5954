"""The configurator: each condition, its effect on the next decision, and the settings it can never change."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from agent import build
from agent.agent import Agent
from agent.config.config import Config, RuleConfig
from agent.configurator import Configurator, Rule, Settings, modulated
from envs.environment import Environment
from envs.errors import TelosError
from envs.percept import Percept
from planners.problem import Budget, Plan, SearchStatistics

CARTPOLE = "dm_control/cartpole-swingup-v0"
RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -0.9, "upper": 0.9, "unit": "m"}
BASE = Settings("icem", MappingProxyType({"knots": 5}), 10, Budget(evaluations=40), (1.0, 0.0))


def plan(cost: float = 0.0, margin: tuple[float, ...] = (), horizon: int = 1) -> Plan[Any]:
    statistics = SearchStatistics(1, 1, 0.0, "sample")
    return Plan(torch.zeros(horizon, 1), 0.01, cost, torch.tensor(margin), True, None, statistics)


# --- conditions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "now", "last", "holds"),
    [
        ({"above": 1.0}, 1.1, None, True),
        ({"above": 1.0}, 1.0, None, False),
        ({"below": 1.0}, 0.9, None, True),
        ({"below": 1.0}, 1.0, None, False),
        ({"above": 0.0, "below": 1.0}, 0.5, None, True),
        ({"above": 0.0, "below": 1.0}, 1.5, None, False),
        ({"above": 0.0, "below": 1.0}, -0.5, None, False),
        ({"rises_by": 0.5}, 1.6, 1.0, True),
        ({"rises_by": 0.5}, 1.5, 1.0, False),
        ({"rises_by": 0.5}, 9.0, None, False),  # no earlier value
        ({"rises_by": 0.5}, -0.4, -1.0, True),  # a fraction of the absolute value
        ({"rises_by": 0.5}, -0.6, -1.0, False),
        ({"rises_by": 0.0}, 1.0, 1.0, False),
        ({"rises_by": 0.5, "above": 2.0}, 1.6, 1.0, False),
        ({"rises_by": 0.5, "above": 2.0}, 2.1, 1.0, True),
        ({"above": 1.0}, float("nan"), None, False),
        ({"above": 1.0}, float("inf"), None, True),
        ({"rises_by": 0.5}, float("inf"), float("inf"), False),
    ],
)
def test_conditions(rule: dict[str, float], now: float, last: float | None, holds: bool) -> None:
    assert Rule("plan_cost", **rule).holds(now, last) is holds


@pytest.mark.parametrize(
    ("quantity", "seen", "unseen"),
    [
        ("plan_cost", (plan(cost=2.0), 0), (plan(cost=0.5), 9)),
        ("mean_cost", (plan(cost=30.0, horizon=20), 0), (plan(cost=30.0, horizon=40), 9)),
        ("plan_margin", (plan(margin=(2.0, 3.0)), 0), (plan(cost=9.0, margin=(0.5, 3.0)), 9)),
        ("plan_margin", (plan(), 0), (plan(margin=(0.0,)), 9)),  # no guardrail: +inf
        ("step", (plan(), 2), (plan(cost=9.0), 1)),
    ],
)
def test_quantities(quantity: Any, seen: tuple[Plan[Any], int], unseen: tuple[Plan[Any], int]) -> None:
    configurator = Configurator(BASE, (Rule(quantity, above=1.0, horizon=20),))
    assert configurator.settings == BASE
    configurator.observe(*seen)
    assert configurator.settings.horizon == 20
    configurator.observe(*unseen)
    assert configurator.settings == BASE  # a rule holds while its condition does


def test_rises_are_seen_between_decisions_and_not_across_episodes() -> None:
    configurator = Configurator(BASE, (Rule("plan_cost", rises_by=0.5, budget_factor=2.0),))
    configurator.observe(plan(cost=1.0), 0)
    assert configurator.settings == BASE
    configurator.observe(plan(cost=2.0), 1)
    assert configurator.settings.budget.evaluations == 80
    configurator.observe(plan(cost=2.1), 2)
    assert configurator.settings == BASE
    configurator.reset()
    configurator.observe(plan(cost=99.0), 0)
    assert configurator.settings == BASE


def test_reset_forgets() -> None:
    configurator = Configurator(BASE, (Rule("plan_cost", above=0.0, horizon=30),))
    configurator.observe(plan(cost=1.0), 0)
    assert configurator.settings.horizon == 30
    configurator.reset()
    assert configurator.settings == BASE


def test_rules_apply_in_order() -> None:
    first = Rule("step", above=-1.0, horizon=20, budget_factor=2.0, weights=MappingProxyType({1: 0.5}))
    second = Rule("step", above=-1.0, horizon=30, budget_factor=3.0)
    configurator = Configurator(BASE, (first, second))
    configurator.observe(plan(), 0)
    assert configurator.settings == dataclasses.replace(
        BASE, horizon=30, budget=Budget(evaluations=240), weights=(1.0, 0.5)
    )


def test_modulated_changes_what_the_rule_says_and_nothing_else() -> None:
    assert modulated(BASE, Rule("step", above=0)) == BASE
    seconds = dataclasses.replace(BASE, budget=Budget(seconds=0.1))
    assert modulated(seconds, Rule("step", above=0, budget_factor=0.5)).budget.seconds == pytest.approx(0.05)
    tiny = modulated(BASE, Rule("step", above=0, budget_factor=1e-9))
    assert tiny.budget.evaluations == 1
    other = modulated(BASE, Rule("step", above=0, planner="cem", planner_params=MappingProxyType({"knots": 3})))
    assert (other.planner, dict(other.planner_params)) == ("cem", {"knots": 3})
    assert modulated(BASE, Rule("step", above=0, weights=MappingProxyType({0: 0.0}))).weights == (0.0, 0.0)


@pytest.mark.parametrize(
    "rule",
    [{}, {"above": 0.0, "budget_factor": 0.0}, {"above": 0.0, "budget_factor": -1.0}],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, float]) -> None:
    with pytest.raises(TelosError, match=r"configurator\.rules"):
        Rule("step", **rule)


# --- effect on the next decision -------------------------------------------------------------------------


def made(rules: list[dict[str, Any]], **more: Any) -> tuple[Environment, Agent]:
    config = Config.model_validate(
        {
            "task": CARTPOLE,
            "planner": {"kind": "icem", "horizon": 8, "budget": {"evaluations": 32}, "params": {"knots": 4}},
            "guardrails": [RAIL],
            "configurator": {"rules": rules},
            "threads": 1,
            **more,
        }
    )
    env = build.environment(config)
    return env, build.agent(config, env.task, env.interface)


def decide(env: Environment, agent: Agent, steps: int) -> list[Any]:
    observation, _ = env.reset(seed=5)
    agent.reset(0)
    decisions = []
    for _ in range(steps):
        decisions.append(agent.act(Percept(observation, env.snapshot())))
        observation, *_ = env.step(decisions[-1].action)
    return decisions


def evaluations(decision: Any) -> int:
    assert len(decision.plan.population.cost) == decision.plan.statistics.evaluations
    return decision.plan.statistics.evaluations


def test_a_raised_budget_is_really_spent_in_the_next_decision() -> None:
    env, agent = made([{"quantity": "step", "above": 0, "budget_factor": 3.0}])
    spent = [evaluations(decision) for decision in decide(env, agent, 4)]
    assert spent[0] <= 32
    assert spent[1] <= 32  # the rule holds after the decision of step 1
    assert all(80 < more <= 96 for more in spent[2:])


def test_the_budget_rises_when_the_plan_cost_does() -> None:
    env, agent = made([{"quantity": "plan_cost", "rises_by": 0.5, "budget_factor": 4.0}])
    observation, _ = env.reset(seed=5)
    agent.reset(0)
    start = env.snapshot()
    state = start.state.copy()
    state[1:5] = [0.0, 0.05, 0.0, 0.0]  # the pole is up: much reward, very low cost
    up = dataclasses.replace(start, state=state)
    spent, costs = [], []
    for snapshot in (up, up, start, start):  # it fell: the cost rises to near zero, by its whole size
        decision = agent.act(Percept(observation, snapshot))
        spent.append(evaluations(decision))
        costs.append(decision.plan.cost)
    assert costs[2] - costs[1] > 0.5 * abs(costs[1])
    assert max(spent[:3]) <= 32
    assert 96 < spent[3] <= 128


def test_the_horizon_changes_during_an_episode() -> None:
    env, agent = made([{"quantity": "step", "above": 0.5, "below": 2.5, "horizon": 14}])
    horizons = [len(decision.plan.actions) for decision in decide(env, agent, 5)]
    assert horizons == [8, 8, 14, 14, 8]
    horizons = [len(decision.plan.actions) for decision in decide(env, agent, 3)]  # starts from the base again
    assert horizons == [8, 8, 14]


def test_the_planner_changes_during_an_episode() -> None:
    rule = {"quantity": "step", "above": 0.5, "below": 2.5, "planner": "random_shooting"}
    env, agent = made([rule])
    kinds = [decision.planner for decision in decide(env, agent, 5)]
    assert kinds == ["icem", "icem", "random_shooting", "random_shooting", "icem"]
    agent.reset(0)
    assert decide(env, agent, 1)[0].planner == "icem"


def test_an_episode_does_not_depend_on_which_planner_the_last_one_ended_with() -> None:
    rule = {"quantity": "step", "above": 0.5, "planner": "random_shooting"}
    env, agent = made([rule])
    assert decide(env, agent, 4)[-1].planner == "random_shooting"
    again, (fresh,) = decide(env, agent, 1)[0], decide(*made([rule]), 1)
    assert again.planner == fresh.planner == "icem"
    assert torch.equal(again.plan.actions, fresh.plan.actions)


def test_the_same_planner_under_other_parameters_is_another_planner() -> None:
    rule = {"quantity": "step", "above": 0.5, "planner": "icem", "planner_params": {"knots": 4, "iterations": 1}}
    env, agent = made([rule], planner={"horizon": 8, "budget": {"evaluations": 128}, "params": {"knots": 4}})
    iterations = [decision.plan.statistics.iterations for decision in decide(env, agent, 4)]
    assert iterations[0] > 1
    assert iterations[2:] == [1, 1]


def test_parameters_without_a_planner_are_refused() -> None:
    with pytest.raises(TelosError, match="planner_params"):
        Rule("step", above=0, planner_params=MappingProxyType({"iterations": 1}))


def test_weights_change_the_cost_that_is_minimised() -> None:
    env, agent = made(
        [{"quantity": "step", "above": -0.5, "weights": {"task": 0.0, "effort": 7.0}}], cost={"effort": 0.0}
    )
    first, second = decide(env, agent, 2)
    trajectory = second.problem.imagine(second.plan.actions[None])
    effort = 7.0 * float(trajectory.actions.square().mean(-1).sum())
    assert second.plan.cost == pytest.approx(effort)
    assert first.plan.cost < 0  # the task's reward


def test_what_a_rule_names_must_exist() -> None:
    with pytest.raises(TelosError, match=r"configurator.rules\[0\].weights"):
        made([{"quantity": "step", "above": 0, "weights": {"rail": 0.0}}])
    with pytest.raises(TelosError, match="planner"):
        made([{"quantity": "step", "above": 0, "planner": "nonsense"}])
    with pytest.raises(TelosError, match="planner"):
        made([{"quantity": "step", "above": 0, "planner": "icem", "planner_params": {"guardrails": []}}])


# --- settings that it can never change --------------------------------------------------------------------


def test_settings_and_rules_have_no_field_for_a_guardrail() -> None:
    fields = {field.name for kind in (Settings, Rule) for field in dataclasses.fields(kind)}
    fields |= set(RuleConfig.model_fields)
    words = ("guard", "rail", "margin", "tolerance", "scale", "gate", "fallback", "back_up", "enforce", "limit")
    assert not [name for name in fields for word in words if word in name]


@pytest.mark.parametrize("field", ["guardrails", "guardrail", "gate", "limits", "tolerance"])
def test_no_such_field_can_be_put_in(field: str) -> None:
    with pytest.raises(TypeError):
        dataclasses.replace(BASE, **{field: ()})
    with pytest.raises(TypeError):
        Rule("step", above=0, **{field: ()})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Extra inputs"):
        RuleConfig.model_validate({"quantity": "step", "above": 0, field: []})
    with pytest.raises(AttributeError):
        setattr(BASE, field, ())


def test_no_rule_moves_a_guardrail() -> None:
    rule = {
        "quantity": "step",
        "above": -1,
        "horizon": 4,
        "budget_factor": 0.1,
        "weights": {"task": -1e9, "effort": -1e9},  # as hostile as a rule can be
        "planner": "random_shooting",
    }
    env, agent = made([rule])
    digest = agent.guardrails.digest
    for decision in decide(env, agent, 6):
        problem = decision.problem
        assert problem.judge.guardrails is agent.guardrails
        assert problem.judge.guardrails.digest == digest
        assert torch.equal(problem.limits.tolerance, agent.guardrails.tolerance)
        assert torch.equal(problem.limits.scale, agent.guardrails.scale)
    # Margins do not depend on weights, and no weight makes an infeasible plan win.
    start = env.snapshot()
    state = start.state.copy()
    state[1], state[3] = 0.85, 1.0
    problem = agent.act(Percept(env.backend.observe(), dataclasses.replace(start, state=state))).problem
    hard = torch.cat([torch.ones(1, problem.horizon, 1), -torch.ones(1, problem.horizon, 1)]).double()
    evaluated = problem.evaluate(hard)
    nothing = problem.objective.reweighted([0.0] * len(problem.objective.terms))
    other = dataclasses.replace(problem, objective=nothing).evaluate(hard)
    assert torch.equal(evaluated.margin, other.margin)
    assert torch.equal(evaluated.feasible, other.feasible)


def test_margins_do_not_enter_the_cost() -> None:
    """There is one weight per term of the objective, and no term is a guardrail."""
    _, agent = made([])
    assert len(agent.configurator.base.weights) == len(agent.objective.terms)
    with pytest.raises(ValueError, match="zip"):
        agent.objective.reweighted((1.0,) * (len(agent.objective.terms) + 1))
    assert np.isfinite(agent.configurator.base.weights).all()
