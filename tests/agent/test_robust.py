"""One plan for several worlds: the risk of the whole cost, and the worst of every margin."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import Tensor

from agent import build
from agent.agent import Agent, Decision
from agent.composition.compose import problem_over
from agent.composition.judge import Exact
from agent.composition.problem import ImaginedProblem
from agent.composition.risk import MEAN, WORST, Risk
from agent.composition.robust import RobustProblem
from agent.config.config import Config, CostConfig
from agent.cost.objective import Objective
from agent.rollouts import episode
from envs import registry as tasks
from envs.errors import TelosError
from envs.guardrails.registry import build as guardrails
from envs.guardrails.ruleset import Guardrails
from envs.physics.variants import Variant
from envs.requests import Request
from envs.task import Snapshot, TaskParams
from envs.trajectory import Signals, Trajectory, no_doubt
from planners import registry as planners
from planners.capabilities import Differentiable, Linearisable, Steppable
from planners.problem import Budget
from worldmodels.belief import Belief
from worldmodels.ensemble import Ensemble
from worldmodels.model import Spent
from worldmodels.simulator.simulator import Simulator

CARTPOLE = "dm_control/cartpole-swingup-v0"
RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -1.5, "upper": 0.9, "unit": "m"}
PLAIN = sorted(name for name in planners.table() if planners.load(name).needs is object)
HEAVY, LIGHT = Variant(mass=1.3, gain=0.8), Variant(mass=0.7)


# --- the measure -------------------------------------------------------------------------------------------


def cvar(values: np.ndarray, alpha: float) -> float:
    """By Rockafellar and Uryasev's formula: the least over z of z + E[max(values - z, 0)] / alpha, z a value."""
    return min(z + np.maximum(values - z, 0).mean() / alpha for z in values)


costs = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9).map(np.array)


@given(values=costs, alpha=st.floats(1e-3, 1))
def test_the_risk_is_that_of_the_formula(values: np.ndarray, alpha: float) -> None:
    weights = Risk(alpha).weights(values[:, None])
    assert (weights >= 0).all()
    assert_allclose(weights.sum(0), 1)
    assert_allclose((weights[:, 0] * values).sum(), cvar(values, alpha), rtol=1e-9, atol=1e-6)


@given(values=costs, alpha=st.floats(0, 1))
@example(values=np.array([-5e-324, -5e-324]), alpha=0.0)
def test_between_the_mean_and_the_worst(values: np.ndarray, alpha: float) -> None:
    mean, some, worst = ((risk.weights(values[:, None])[:, 0] * values).sum() for risk in (MEAN, Risk(alpha), WORST))
    slack = 1e-9 * np.abs(values).max() + np.finfo(float).tiny  # smaller values round to 0 or to the whole when halved
    assert mean <= some + slack <= worst + 2 * slack
    assert_allclose(mean, values.mean(), rtol=1e-9, atol=1e-6)
    assert worst == values.max()


def test_by_hand() -> None:
    totals = np.array([[1.0, 8.0], [2.0, 4.0], [4.0, 2.0], [8.0, 1.0]])
    assert (Risk(0.5).weights(totals) * totals).sum(0).tolist() == [6.0, 6.0]
    assert Risk(0.5).weights(totals)[:, 0].tolist() == [0.0, 0.0, 0.5, 0.5]
    assert_allclose((Risk(0.375).weights(totals) * totals).sum(0), [(8 + 0.5 * 4) / 1.5] * 2)
    assert (Risk(0.25).weights(totals) == WORST.weights(totals)).all()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(alpha: float) -> None:
    with pytest.raises(TelosError, match=r"Risk\.alpha: given"):
        Risk(alpha)


# --- the problem, over members made of a formula -----------------------------------------------------------


class Toy:
    """A member whose position is the sum of actions times `gain`; it records the questions."""

    stride, dt, action_size = 1, 0.1, 1
    starts_from, signals = "state", frozenset({Request("joint_position/slider", "state")})

    def __init__(self, gain: float, valid: bool = True, offset: float = 0.0) -> None:
        self.gain, self.valid, self.offset = gain, valid, offset
        self.asked: list[Tensor] = []

    @property
    def spent(self) -> Spent:
        return Spent(sum(actions.shape[0] * actions.shape[1] for actions in self.asked), 0.5)

    def imagine(self, start: Belief, actions: Tensor, states: bool = False) -> Trajectory:
        self.asked.append(actions.clone())
        path = torch.cat([torch.zeros(len(actions), 1, 1), self.gain * actions.cumsum(1)], 1).double() + self.offset
        signals = Signals({"joint_position/slider": path})
        return Trajectory(path, actions, signals, torch.full((len(actions),), self.valid), no_doubt(actions), self.dt)


class Distance:
    """Cost: the distance of the position from 1."""

    requests = ()

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        return (1 - trajectory.signals.state["joint_position/slider"][:, 1:, 0]).abs()


class Last:
    """Critic: the last position."""

    requests = ()

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        return 3 * trajectory.states[:, -1, 0]


def over(
    members: list[Any], risk: Risk = MEAN, rules: tuple[dict[str, Any], ...] = (RAIL,), critic: Any = None
) -> RobustProblem:
    start = Belief.at(Snapshot(np.zeros(4), TaskParams()))
    fallback = MappingProxyType({"fallback": torch.zeros(5, 1, dtype=torch.float64)})
    objective = Objective(((1.0, Distance()),), critic)
    return RobustProblem(Ensemble(members), objective, Exact(guardrails(rules)), start, 5, fallback, risk=risk)


def candidates(number: int = 6, horizon: int = 5, size: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (number, horizon, size)))


@pytest.mark.parametrize("risk", [MEAN, WORST, Risk(0.5), Risk(0.8)])
@pytest.mark.parametrize("critic", [None, Last()])
def test_the_cost_is_the_risk_of_whole_trajectories(risk: Risk, critic: Any) -> None:
    gains = (1.0, 0.5, -0.7, 2.0)
    made = over([Toy(gain) for gain in gains], risk, critic=critic)
    actions = candidates()
    each = [over([Toy(gain)], critic=critic).evaluate(actions) for gain in gains]
    totals = np.stack([one.cost.numpy() for one in each])
    wanted = [cvar(column, max(risk.alpha, 0.25)) for column in totals.T]
    found = made.evaluate(actions)
    assert_allclose(found.cost, wanted, rtol=1e-12)
    if risk is WORST:  # steps come from the member with the worst total, not from the worst member of each step
        worst = totals.argmax(0)
        assert len(set(worst)) > 1, "the test needs members that take turns"
        assert all(torch.equal(found.step_cost[n], each[m].step_cost[n]) for n, m in enumerate(worst))
        assert (found.cost.numpy() == totals.max(0)).all()
    if risk is MEAN:
        assert_allclose(found.step_cost, np.mean([one.step_cost.numpy() for one in each], 0), rtol=1e-12)


@pytest.mark.parametrize("risk", [MEAN, WORST, Risk(0.5)])
def test_margins_are_the_worst_whatever_the_risk(risk: Risk) -> None:
    made, actions = over([Toy(1.0), Toy(-0.2), Toy(1.8)], risk), 0.4 * candidates()
    each = torch.stack([over([Toy(gain)]).evaluate(actions).margin for gain in (1.0, -0.2, 1.8)])
    found = made.evaluate(actions)
    assert torch.equal(found.margin, each.amin(0))
    safe = ((each >= 0).all(0).all(1)).tolist()
    assert set(safe) == {True, False}, "the test needs both"
    assert found.feasible.tolist() == safe


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_margin_that_is_no_number_in_one_member_is_a_violation(bad: float) -> None:
    found = over([Toy(0.01), Toy(0.01, offset=bad), Toy(0.01)]).evaluate(candidates())
    assert not found.feasible.any()
    assert over([Toy(0.01)] * 3).evaluate(candidates()).feasible.all()


def test_one_invalid_member_invalidates() -> None:
    found = over([Toy(0.01), Toy(0.01, valid=False)]).evaluate(candidates())
    assert not found.valid.any()
    assert (found.cost == torch.inf).all()
    assert (found.violation == torch.inf).all()


def test_a_member_whose_cost_is_no_number_is_never_left_out() -> None:
    """This holds even if the risk gives the member no weight, as with a cost of minus infinity."""
    for bad in (np.nan, np.inf, -np.inf):
        found = over([Toy(0.01), Toy(0.01, offset=bad)], WORST, rules=()).evaluate(candidates())
        assert (found.cost == torch.inf).all()


def test_members_judge_the_same_candidates() -> None:
    members = [Toy(1.0), Toy(0.5), Toy(2.0)]
    made, actions = over(members), candidates()
    made.evaluate(actions)
    assert all(torch.equal(member.asked[0], actions) for member in members)
    assert made.model.spent == Spent(3 * 6 * 5, 1.5), "what was spent is what all have spent"


def test_the_nominal_member_is_what_is_shown() -> None:
    members, actions = [Toy(1.0), Toy(0.5)], candidates()
    shown = over(members).imagine(actions)
    assert torch.equal(shown.states, Toy(1.0).imagine(Belief.at(Snapshot(np.zeros(4), TaskParams())), actions).states)
    assert not members[1].asked


def test_it_offers_no_capability_that_it_has_not() -> None:
    made = over([Toy(1.0), Toy(0.5)])
    for capability in (Differentiable, Linearisable, Steppable):
        assert not isinstance(made, capability)
    assert problem_over(made.model, robust=True) is RobustProblem


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([], "none"),
        ([Toy(1.0), SimpleNamespace(stride=1, dt=0.2, action_size=1)], "dt"),
        ([Toy(1.0), SimpleNamespace(stride=1, dt=0.1, action_size=2)], "action_size"),
    ],
)
def test_members_are_of_one_kind(members: list[Any], text: str) -> None:
    with pytest.raises(TelosError, match=f"Ensemble.members.*{text}"):
        Ensemble(members)


def test_one_model_is_no_ensemble() -> None:
    made = over([Toy(1.0)])
    with pytest.raises(TelosError, match="given Toy; allowed: a model of several futures"):
        replace(made, model=Toy(1.0))


# --- over variants of physics ------------------------------------------------------------------------------


def simulated(variants: list[Variant], horizon: int = 20, task: str = CARTPOLE, rail: float = 0.9) -> ImaginedProblem:
    """A problem over the nominal model and the variants; a plain problem if there are none."""
    env = tasks.make(task)
    env.reset(seed=0)
    rules = guardrails(({**RAIL, "upper": rail},)) if task == CARTPOLE else Guardrails()
    _, objective = build.objective(CostConfig(), env.task)
    nominal, *others = [
        Simulator(env.task, env.interface, (*objective.requests, *rules.requests), threads=1, variant=variant)
        for variant in (None, *variants)
    ]
    model = Ensemble([nominal, *others]) if variants else nominal
    fallback = {"fallback": torch.zeros(horizon, env.interface.action_size, dtype=torch.float64)}
    kind = RobustProblem if variants else ImaginedProblem
    made = kind(model, objective, Exact(rules), Belief.at(env.snapshot()), horizon, fallback)
    env.close()
    return made


def test_one_member_is_the_plain_problem_bit_for_bit() -> None:
    plain = simulated([])
    alone = RobustProblem(
        Ensemble([plain.model]), plain.objective, plain.judge, plain.start, plain.horizon, plain.proposals
    )
    actions = candidates(horizon=20)
    one, other = plain.evaluate(actions), alone.evaluate(actions)
    for name in ("step_cost", "terminal_cost", "margin", "valid", "cost", "violation"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_the_same_question_has_the_same_answer() -> None:
    """Equal candidates cost the same, in one call or several, because random numbers are shared."""
    made = simulated([HEAVY, LIGHT])
    actions = candidates(2, 20)
    once = made.evaluate(actions.repeat(2, 1, 1))
    assert torch.equal(once.cost[:2], once.cost[2:])
    assert torch.equal(made.evaluate(actions).cost, once.cost[:2])


def test_every_variant_is_simulated() -> None:
    """Compare with the real environment under each variant, stepped by hand."""
    made, actions = simulated([HEAVY, LIGHT]), candidates(1, 20)
    assert isinstance(made.model, Ensemble)
    ends = [future.states[0, -1].numpy() for future in made.model.futures(made.start, actions, 0, states=True)]
    for variant, end in zip((Variant(), HEAVY, LIGHT), ends, strict=True):
        env = tasks.make(CARTPOLE, variant)
        env.reset(seed=0)
        for action in actions[0].numpy():
            env.step(action)
        assert_allclose(env.snapshot().state[: 1 + 4], end[: 1 + 4], rtol=1e-9, atol=1e-9)
        env.close()


@pytest.mark.parametrize("name", PLAIN)
def test_every_planner_plans_with_it(name: str) -> None:
    made = simulated([HEAVY, LIGHT], horizon=8)
    plan, _ = _planned(name, made)
    again = made.evaluate(plan.actions[None])
    assert plan.feasible
    assert plan.cost == float(again.cost)
    assert torch.equal(plan.margin, again.margin[0])
    assert plan.cost <= float(made.evaluate(made.proposals["fallback"][None]).cost)


def _planned(name: str, made: ImaginedProblem) -> Any:
    planner = planners.make(name)
    return planner.plan(planner.start(0), made, Budget(evaluations=60))


def rolling(made: ImaginedProblem) -> ImaginedProblem:
    """The same problem with the cart rolling towards the rail's end, 1 m/s."""
    state = made.start.simulated.state.copy()
    state[1], state[2], state[3], state[4] = 0.0, np.pi, 1.0, 0.0  # slider, hinge, and their speeds
    return replace(made, start=Belief.at(Snapshot(state, made.start.params)))


def test_a_plan_that_breaks_a_guardrail_in_a_heavier_world_is_refused() -> None:
    """A gentle brake stops in time with the nominal mass, but not with more mass; a hard brake always does."""
    gentle = torch.full((1, 40, 1), -0.4, dtype=torch.float64)
    stops = 1.0 - float(rolling(simulated([], 40, rail=1.0)).evaluate(gentle).margin)
    rail = stops + 0.01
    plain, robust = (rolling(simulated(variants, 40, rail=rail)) for variants in ([], [HEAVY]))
    assert plain.evaluate(gentle).feasible.all()
    assert not robust.evaluate(gentle).feasible.any()
    assert robust.evaluate(2 * gentle).feasible.all()
    # The guardrail decides, whichever of the two is cheaper.
    proposals = MappingProxyType({**plain.proposals, "gentle": gentle[0], "hard": 2 * gentle[0]})
    for name in PLAIN:
        plan, _ = _planned(name, replace(robust, proposals=proposals))
        assert plan.feasible
        assert not torch.equal(plan.actions, gentle[0])


# --- as a whole agent --------------------------------------------------------------------------------------


def config(**risk: Any) -> Config:
    return Config.model_validate(
        {
            "task": CARTPOLE,
            "world_model": {"variants": [{"mass": 0.7}, {"mass": 1.3, "gain": 0.8}]},
            **({"risk": risk} if risk else {}),
            "planner": {"horizon": 8, "budget": {"evaluations": 24}, "params": {"knots": 4}},
            "guardrails": [RAIL],
            "threads": 1,
        }
    )


def played(given: Config, frames: int = 5) -> tuple[list[Decision], episode.EpisodeResult]:
    decisions: list[Decision] = []
    env = build.environment(given)
    agent = build.agent(given, env.task, env.interface)
    world = build.world(given, env)
    result = episode.run(agent, world, 0, 0, frames, witness=lambda _, decision: decisions.append(decision))
    env.close()
    return decisions, result


@pytest.mark.parametrize(
    ("given", "risk"),
    [({}, WORST), ({"kind": "worst"}, WORST), ({"kind": "mean"}, MEAN), ({"kind": "cvar", "alpha": 0.3}, Risk(0.3))],
)
def test_a_configured_agent_plans_for_all(given: dict[str, Any], risk: Risk) -> None:
    decisions, result = played(config(**given))
    problem, plan = decisions[-1].problem, decisions[-1].plan
    assert isinstance(problem, RobustProblem)
    assert isinstance(problem.model, Ensemble)
    assert problem.risk == risk
    members = [member for member in problem.model.parts if isinstance(member, Simulator)]
    assert [member.physics.variant for member in members] == [Variant(), LIGHT, HEAVY]
    assert plan.cost == float(problem.evaluate(plan.actions[None]).cost)
    assert result.physics_steps == 3 * 5 * 24 * 8, "all members, decisions, candidates, steps"


def test_the_same_seed_decides_the_same() -> None:
    (_, one), (_, other) = played(config()), played(config())
    assert [step.action.tobytes() for step in one.steps] == [step.action.tobytes() for step in other.steps]


def test_a_risk_needs_members() -> None:
    agent = build.agent(config())
    assert isinstance(agent.model, Ensemble)
    nominal = agent.model.nominal
    with pytest.raises(TelosError, match="Agent: risk: given with a Simulator; allowed: an Ensemble"):
        Agent(
            agent.perception,
            nominal,
            agent.objective,
            agent.guardrails,
            agent.actor,
            agent.memory,
            agent.configurator,
            WORST,
        )


@pytest.mark.parametrize("name", ["latency", "observation_noise"])
def test_a_model_varies_in_physics_alone(name: str) -> None:
    env = tasks.make(CARTPOLE)
    with pytest.raises(TelosError, match=f"variant.{name}: given 2"):
        Simulator(env.task, env.interface, variant=Variant(**{name: 2}))
    env.close()


def test_variants_without_a_risk_are_refused() -> None:
    """Their margins would not count in plans, so a setting of costs would weaken a rule."""
    with pytest.raises(ValueError, match="a risk with world_model"):
        Config.model_validate({**config().model_dump(mode="json"), "risk": None})


def test_files_of_older_versions_are_read() -> None:
    old = {"robust": {"risk": "cvar", "alpha": 0.3, "variants": [{"mass": 0.7}, {"mass": 1.3, "gain": 0.8}]}}
    plain = {name: value for name, value in config().model_dump(mode="json").items() if name != "risk"}
    read = Config.model_validate({**plain, "world_model": old})
    assert read == config(kind="cvar", alpha=0.3)


def test_what_an_older_file_says_is_refused_or_overridden_and_never_dropped() -> None:
    plain = {name: value for name, value in config().model_dump(mode="json").items() if name != "risk"}
    old = {"robust": {"variants": [{"mass": 0.7}], "rsik": "mean"}}
    with pytest.raises(ValueError, match="robust"):
        Config.model_validate({**plain, "world_model": old})
    both = {"robust": {"risk": "worst", "variants": [{"mass": 0.7}]}, "variants": [{"mass": 2.0}]}
    read = Config.model_validate({**plain, "world_model": both, "risk": {"kind": "mean"}})
    assert read.risk is not None
    assert read.risk.kind == "mean"
    assert [variant.mass for variant in read.world_model.variants] == [2.0]
