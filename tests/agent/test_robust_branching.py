"""Branching and expansion in several worlds side by side give the risk of whole trajectories."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agent import build
from agent.composition.compose import composer, problem_over
from agent.composition.expansion import LinearisableProblem
from agent.composition.judge import Exact
from agent.composition.problem import ImaginedProblem
from agent.composition.risk import MEAN, WORST, Risk
from agent.composition.robust_branching import RobustChartedProblem, RobustLinearisableProblem, RobustMeasurableProblem
from agent.config.config import CostConfig
from envs import registry
from envs.errors import TelosError
from envs.guardrails.registry import build as guardrails
from envs.physics.variants import Variant
from envs.trajectory import Trajectory
from planners import registry as planners
from planners.capabilities import Discretisable, Linearisable, Linearisation, Measurable, Steppable
from planners.problem import Budget
from tests.agent.test_branching import RAIL
from tests.agent.test_expansion import actions_of, adjoint, slope_of_the_whole
from worldmodels.belief import Belief
from worldmodels.ensemble import Ensemble
from worldmodels.model import Comparable, WorldModel
from worldmodels.simulator.simulator import Simulator

CARTPOLE, WALKER, HOPPER = "dm_control/cartpole-swingup-v0", "dm_control/walker-walk-v0", "Hopper-v5"
CHEETAH, FISH = "dm_control/cheetah-run-v0", "dm_control/fish-swim-v0"
VARIANTS = (Variant(mass=1.3, gain=0.8), Variant(mass=0.7), Variant(gain=1.3))
RISKS = (MEAN, WORST, Risk(0.6))
OFFERED = (RobustLinearisableProblem, RobustMeasurableProblem, RobustChartedProblem)
ABLE = sorted(name for name in planners.table() if any(issubclass(kind, planners.load(name).needs) for kind in OFFERED))
BRANCHING = [name for name in ABLE if planners.load(name).needs is not object]


def problem(
    task_id: str = CARTPOLE,
    risk: Risk = MEAN,
    variants: tuple[Variant, ...] = VARIANTS,
    horizon: int = 8,
    rules: tuple[dict[str, object], ...] = (),
    **cost: float,
) -> RobustLinearisableProblem:
    env = registry.make(task_id)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(3):
        env.step(rng.uniform(-1, 1, env.interface.action_size))
    _, costs = build.objective(CostConfig.model_validate(cost), env.task)
    guards = guardrails(rules)
    members = [
        Simulator(env.task, env.interface, (*costs.requests, *guards.requests), threads=1, variant=variant)
        for variant in (None, *variants)
    ]
    fallback = torch.zeros(horizon, env.interface.action_size, dtype=torch.float64)
    model = Ensemble(members)
    made = composer(model, risk)(
        model, costs, Exact(guards), Belief.at(env.snapshot()), horizon, {"fallback": fallback}
    )
    env.close()
    assert isinstance(made, RobustLinearisableProblem)
    return made


def candidates(made: ImaginedProblem, number: int = 4) -> Tensor:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.uniform(-1, 1, (number, made.horizon, made.action_size)))


def test_what_it_offers() -> None:
    made = problem()
    for capability in (Steppable, Measurable, Linearisable):
        assert isinstance(made, capability)
    assert not isinstance(made, Discretisable), "one cell would stand for many states"
    assert {"mcts", "sst", "ilqr", "icem"} <= set(ABLE)
    offered = problem_over(made.model, robust=True)
    for kind in OFFERED:
        assert issubclass(offered, kind)


@pytest.mark.parametrize("risk", RISKS)
@pytest.mark.parametrize("task_id", [CARTPOLE, WALKER, HOPPER])
def test_edges_add_up_to_the_risk_of_the_whole(task_id: str, risk: Risk) -> None:
    horizon = 40 if task_id == HOPPER else 12  # the hopper falls on the way
    made = problem(task_id, risk, horizon=horizon, rules=(RAIL,) if task_id == CARTPOLE else (), effort=0.5)
    actions = candidates(made)
    whole = made.evaluate(actions)
    for edge in (1, 4):
        nodes, total = made.root().repeat(len(actions), 1), torch.zeros(len(actions), dtype=torch.float64)
        worst = torch.full_like(whole.margin, torch.inf)
        for begin in range(0, made.horizon, edge):
            stepped = made.step(nodes, actions[:, begin : begin + edge].contiguous())
            total, worst, nodes = total + stepped.cost, torch.minimum(worst, stepped.margin), stepped.nodes
            assert (stepped.valid == whole.valid).all()
        torch.testing.assert_close(total, whole.step_cost.sum(1), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(worst, whole.margin, rtol=1e-12, atol=1e-12)


def test_members_that_take_turns_are_in_the_test() -> None:
    made = problem(risk=WORST, horizon=12)
    each = torch.stack([alone.evaluate(candidates(made, 30)).cost for alone in made._alone()])
    assert len(set(each.argmax(0).tolist())) > 1


def test_the_episode_is_over_where_it_is_in_every_world() -> None:
    """Hopper-v5 ends when it leans too far. A world that has ended earns nothing more; the others continue."""
    made = problem(HOPPER, WORST, (Variant(mass=1.5, gain=0.2),), horizon=40)
    nodes, actions = made.root().repeat(3, 1), torch.ones(3, 40, 3, dtype=torch.float64)
    actions[1], actions[2] = -1.0, 0.3
    seen = set()
    for t in range(40):
        stepped = made.step(nodes, actions[:, t : t + 1].contiguous())
        ended = made._worlds(stepped.nodes).ended
        assert torch.equal(stepped.done, ended.all(1))
        before = made._worlds(nodes)
        cost = made._worlds(stepped.nodes).cost
        assert torch.equal(cost[before.ended > 0], before.cost[before.ended > 0])
        seen |= {tuple(row) for row in ended.tolist()}
        nodes = stepped.nodes
    assert (1.0, 1.0) in seen
    assert {(0.0, 1.0), (1.0, 0.0)} & seen, "the test needs worlds that end apart"


def test_one_member_is_the_plain_problem() -> None:
    made = problem(variants=(), rules=(RAIL,))
    (alone,) = made.members
    rest = (made.objective, made.judge, made.start, made.horizon, made.proposals)
    plain: Any = problem_over(alone, robust=False)(alone, *rest)
    actions = candidates(made)
    ours, theirs = (p.step(p.root().repeat(4, 1), actions) for p in (made, plain))
    torch.testing.assert_close(ours.cost, theirs.cost, rtol=1e-15, atol=0)
    assert torch.equal(ours.margin, theirs.margin)
    assert torch.equal(made._worlds(ours.nodes).states[:, 0], theirs.nodes)
    torch.testing.assert_close(made.embedding(ours.nodes, 0.1), plain.embedding(theirs.nodes, 0.1))
    one, other = made.linearise(actions[0]), plain.linearise(actions[0])
    for field in fields(one):
        if field.name != "limits":
            assert torch.equal(getattr(one, field.name), getattr(other, field.name)), field.name
    gains = torch.from_numpy(np.random.default_rng(2).normal(size=(8, 1, one.state.shape[1])))
    offsets = 0.1 * candidates(made)
    assert torch.equal(made.track(actions[0], offsets, gains), plain.track(actions[0], offsets, gains))


@pytest.mark.parametrize("risk", RISKS)
@pytest.mark.parametrize("task_id", [CARTPOLE, CHEETAH, FISH])
def test_the_expansion_has_the_slope_of_the_risk(task_id: str, risk: Risk) -> None:
    made = problem(task_id, risk)
    actions = actions_of(made)
    linear = made.linearise(actions)
    found = slope_of_the_whole(made, actions, lambda judged: judged.cost)
    assert (adjoint(linear) - found).norm() <= 1e-3 * found.norm()
    for name in ("cost_xx", "terminal_xx"):
        assert torch.linalg.eigvalsh(getattr(linear, name)).min() > -1e-9


def test_margins_are_expanded_where_they_are_worst() -> None:
    made = problem(rules=(RAIL,))
    actions = actions_of(made)
    linear = made.linearise(actions)
    at = int(linear.margin[:, 0].argmin())
    gradient = torch.zeros_like(actions)
    later = linear.margin_x[at, 0]
    gradient[at] = linear.margin_u[at, 0]
    for t in reversed(range(at)):
        gradient[t] = later @ linear.action[t]
        later = later @ linear.state[t]
    torch.testing.assert_close(linear.margin.amin(), made.evaluate(actions[None]).margin[0, 0])
    found = slope_of_the_whole(made, actions, lambda judged: judged.margin[:, 0])
    torch.testing.assert_close(gradient, found, rtol=1e-3, atol=1e-5)


def test_feedback_is_that_of_all_worlds() -> None:
    """The action reacts to one member's state through that member's gain only; without gains it does not react."""
    made = problem(variants=VARIANTS[:1])
    nominal, offsets = actions_of(made, 0.5), 0.1 * candidates(made)
    size = made.linearise(nominal).state.shape[1]
    none = torch.zeros(8, 1, size, dtype=torch.float64)
    assert torch.equal(made.track(nominal, offsets, none), (nominal + offsets).clamp(-1, 1))
    heavy = none.clone()
    heavy[:, :, size // 2 :] = 0.5
    alone = made._alone()[1]
    expected = alone.track(nominal, offsets, heavy[:, :, size // 2 :])
    assert torch.equal(made.track(nominal, offsets, heavy), expected)


@pytest.mark.parametrize("risk", [MEAN, WORST])
@pytest.mark.parametrize("name", BRANCHING)
def test_planners_that_branch_or_descend_plan_for_all_worlds(name: str, risk: Risk) -> None:
    made = problem(risk=risk, horizon=16, rules=(RAIL,))
    planner = planners.make(name)
    budget = Budget(evaluations=150)
    plan, _ = planner.plan(planner.start(0), made, budget)
    again = made.evaluate(plan.actions[None])
    assert plan.feasible
    assert plan.cost == float(again.cost)
    assert plan.statistics.evaluations <= 150
    idle = float(made.evaluate(made.proposals["fallback"][None]).cost)
    assert plan.cost < idle if name in ("ilqr", "mcts") else plan.cost <= idle
    spent = made.model.spent.steps
    planner.plan(planner.start(0), made, budget)
    steps = made.members[0].physics.timestep if isinstance(made.members[0], Simulator) else 1.0
    most = 150 * made.horizon * 4 * round(made.dt / steps)
    assert made.model.spent.steps - spent <= most, "a budget counts candidates, each in all worlds"


def _embedding(member: WorldModel, states: Tensor) -> Tensor:
    assert isinstance(member, Comparable)
    return member.embedding(states, 0.1)


def test_distance_is_the_root_mean_square_of_the_members() -> None:
    made = problem(variants=VARIANTS[:1])
    actions = candidates(made, 2)
    nodes = made.step(made.root().repeat(2, 1), actions).nodes
    states = made._worlds(nodes).states
    each = [_embedding(member, states[:, m].contiguous()) for m, member in enumerate(made.members)]
    apart = torch.stack([(one[0] - one[1]).square().sum() for one in each])
    assert apart[0] != apart[1]
    found = made.embedding(nodes, 0.1)
    torch.testing.assert_close((found[0] - found[1]).norm(), apart.mean().sqrt())


class Diverging(Simulator):
    """A model whose futures are all invalid."""

    def branch(self, start: Belief, states: Tensor, actions: Tensor) -> Trajectory:
        future = super().branch(start, states, actions)
        return replace(future, valid=torch.zeros_like(future.valid))

    def resumable(self) -> bool:
        return False


def with_member(made: RobustLinearisableProblem, kind: type[Simulator]) -> RobustLinearisableProblem:
    """The problem with one more member, of this class."""
    first = made.members[0]
    assert isinstance(first, Simulator)
    more = kind(first.task, first.interface, made.judge.guardrails.requests, threads=1)
    return replace(made, model=Ensemble([*made.members, more]))


def test_one_member_that_diverges_takes_the_edge_with_it() -> None:
    made = with_member(problem(rules=(RAIL,)), Diverging)
    stepped = made.step(made.root().repeat(3, 1), candidates(made, 3))
    assert not stepped.valid.any()
    assert (stepped.cost == torch.inf).all()
    assert (stepped.violation == np.inf).all()
    assert made.objective.looks_back is False
    assert not made.expandable(), "nor can a member that does not go on be expanded"
    assert with_member(problem(), Simulator).expandable()


def test_a_margin_that_is_no_number_is_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    made, expand = problem(rules=(RAIL,)), LinearisableProblem.linearise
    lost = made.members[1]

    def linearise(alone: LinearisableProblem, actions: Tensor) -> Linearisation:
        found = expand(alone, actions)
        return replace(found, margin=torch.full_like(found.margin, torch.nan)) if alone.model is lost else found

    monkeypatch.setattr(LinearisableProblem, "linearise", linearise)
    linear = made.linearise(actions_of(made))
    size = linear.state.shape[1] // 4
    assert linear.margin.isnan().all()
    assert linear.margin_x[..., size : 2 * size].any(), "the slope is that of the member that is lost"
    assert not linear.margin_x[..., :size].any()
    assert not linear.margin_x[..., 2 * size :].any()


def test_a_cost_that_looks_back_is_refused() -> None:
    made = problem(action_rate=0.1)
    assert not made.expandable()
    with pytest.raises(TelosError, match="action_rate"):
        made.step(made.root(), candidates(made, 1)[:, :1])
