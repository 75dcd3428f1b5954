"""A learned model in float32 plans under every planner whose capability it has, under a judge that knows its error."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agent import build
from agent.composition.compose import composer, problem_over
from agent.composition.conformal import Widths, calibrated
from agent.composition.judge import Exact, Widened
from agent.composition.problem import ImaginedProblem
from agent.composition.risk import MEAN, WORST, Risk
from agent.config.config import Config
from agent.cost.intrinsic.doubt import Doubt
from agent.cost.intrinsic.effort import Effort
from agent.cost.objective import Cost, Objective
from envs import registry as tasks
from envs.environment import Environment
from envs.errors import GuardrailTampered, GuardrailWeakened, TelosError
from envs.guardrails.registry import build as guardrails
from envs.guardrails.ruleset import Guardrails
from envs.task import TaskParams
from envs.trajectory import Signals, Trajectory
from planners import registry as planners
from planners.capabilities import Differentiable, Discretisable, Linearisable, Measurable, Steppable
from planners.problem import Budget, Plan
from tests.worldmodels.latent import F, Latent, LatentEnsemble, RewardHead, Weights, features, fitted, halved
from worldmodels.belief import Belief
from worldmodels.ensemble import Ensemble
from worldmodels.model import Plural

TASK = "dm_control/point_mass-easy-v0"
WALL = {"kind": "joint_position", "name": "wall", "joint": "root_x", "lower": -0.29, "upper": 0.15, "unit": "m"}
H = 12
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
on_devices = pytest.mark.parametrize("device", DEVICES)


@cache
def environment() -> Environment:
    return tasks.make(TASK)


@cache
def weights() -> tuple[Weights, Weights]:
    return fitted(environment(), 0), fitted(environment(), 1, gain=0.95)


def rules() -> Guardrails:
    return guardrails((WALL,))


@cache
def widths() -> Widths:
    """Widths from rollouts of the real environment under random held actions: 60 to calibrate, 60 to measure recall."""
    env, rng, rolled = environment(), np.random.default_rng(5), []
    model = Latent(weights()[0])
    for seed in range(120):
        observation, _ = env.reset(seed=1000 + seed)
        actions = np.repeat(rng.uniform(-1, 1, (H // 4, 2)), 4, 0)
        places = []
        start = Belief(None, features(observation))
        for action in actions:
            observation, *_ = env.step(action)
            places.append(observation["position"])
        predicted = model.imagine(start, torch.from_numpy(actions)[None]).signals
        real = torch.from_numpy(np.stack(places))[None]
        told = {name: value.double() for name, value in predicted.state.items()}
        held = {name: torch.cat([told[name][:, :1], real[..., i : i + 1]], 1) for i, name in enumerate(sorted(told))}
        rolled.append([rules().step_margins(Signals(state)) for state in (told, held)])
    predicted, real = (torch.cat(part) for part in zip(*rolled, strict=True))
    return calibrated(rules(), predicted[:60], real[:60], predicted[60:], real[60:], 0.1)


def start(x: float = -0.1, y: float = 0.1) -> Belief:
    return Belief(None, np.array([9.0, 9.0, 9.0, 9.0, x, y, 0.0, 0.0]))  # a stack: the newest observation counts


def problem(risk: Risk | None, device: str = "cpu", terms: tuple[tuple[float, Cost], ...] = ()) -> ImaginedProblem:
    model = LatentEnsemble(weights(), device)
    objective = Objective(terms or ((1.0, RewardHead(model.encoder)),))
    fallback = {"fallback": torch.zeros(H, 2, dtype=torch.float64)}
    return composer(model, risk)(model, objective, Widened(rules(), widths()), start(), H, fallback, 7)


def candidates(number: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(2).uniform(-1, 1, (number, H, 2)))


# --- which planners -------------------------------------------------------------------------------------------


def able(risk: Risk | None) -> list[str]:
    offered = problem_over(LatentEnsemble(weights()), risk is not None)
    return sorted(name for name in planners.BUILT_IN if issubclass(offered, planners.load(name).needs))


@pytest.mark.parametrize("risk", [None, WORST])
def test_capabilities_compose(risk: Risk | None) -> None:
    """It branches, has gradients and can be compared: the problem offers all of it, which the first match would not."""
    made = problem(risk)
    for capability in (Differentiable, Steppable, Measurable, Linearisable):
        assert isinstance(made, capability)
    assert not isinstance(made, Discretisable), "no coordinates"
    assert {"gradient", "ilqr", "mcts", "sst", "icem"} <= set(able(risk))
    assert not {"a_star", "dijkstra", "value_iteration"} & set(able(risk))


@pytest.mark.parametrize("risk", [None, MEAN, WORST], ids=["alone", "mean", "worst"])
@pytest.mark.parametrize("name", sorted(set(planners.BUILT_IN) - {"a_star", "dijkstra", "value_iteration"}))
def test_every_able_planner_plans_and_keeps_the_widened_rule(name: str, risk: Risk | None) -> None:
    assert name in able(risk)
    made = problem(risk)
    plan = planned(name, made)
    again = made.evaluate(plan.actions[None])
    assert plan.feasible
    assert plan.cost == pytest.approx(float(again.cost), rel=1e-6)
    idle = made.evaluate(made.proposals["fallback"][None])
    assert plan.cost < float(idle.cost), "better than to do nothing"
    again = planned(name, made)
    assert torch.equal(again.actions, plan.actions)


def planned(name: str, made: ImaginedProblem) -> Plan[Any]:
    planner = planners.make(name, **({"hold": 2} if name == "sst" else {}))
    return planner.plan(planner.start(0), made, Budget(evaluations=200))[0]


# --- dtype, device, gradients ---------------------------------------------------------------------------------


@on_devices
@pytest.mark.parametrize("risk", [None, WORST])
def test_what_planners_read_is_float64_on_the_cpu(risk: Risk | None, device: str) -> None:
    made: Any = problem(risk, device)
    root = made.root()
    stepped = made.step(root.repeat(4, 1), candidates()[:, :3].contiguous())
    judged = made.evaluate(candidates())
    linear = made.linearise(candidates()[0])
    read = [root, stepped.nodes, stepped.cost, stepped.margin, judged.step_cost, judged.margin, judged.terminal_cost]
    read += [made.embedding(stepped.nodes, 0.1), linear.state, linear.cost_xx, linear.margin_x]
    for tensor in read:
        assert tensor.dtype == torch.float64
        assert tensor.device.type == "cpu"
    assert judged.valid.device.type == "cpu"
    assert made.imagine(candidates()).states.dtype == torch.float32, "latents stay as the model has them"


def test_nodes_that_planners_keep_continue_exactly() -> None:
    made: Any = problem(None)
    actions = candidates()
    model = made.model
    own = model.branch(made.start, model.root(made.start).expand(4, -1), actions[:, :5])
    kept = made.step(made.root().repeat(4, 1), actions[:, :5].contiguous()).nodes
    assert torch.equal(kept.float(), own.states[:, -1])
    direct = model.branch(made.start, own.states[:, -1], actions[:, 5:6])
    again = made.step(kept, actions[:, 5:6].contiguous())
    assert torch.equal(again.nodes.float(), direct.states[:, -1])


@pytest.mark.parametrize("risk", [None, MEAN, WORST, Risk(0.5)])
def test_the_gradient_is_that_of_the_risk(risk: Risk | None) -> None:
    made: Any = problem(risk)
    actions = candidates(1)
    moved = actions.clone().requires_grad_()
    judged = made.differentiate(moved)
    total = judged.step_cost.sum() + judged.terminal_cost.sum()
    (slope,) = torch.autograd.grad(total, moved)
    units = 1e-2 * torch.eye(actions.numel(), dtype=torch.float64).reshape(-1, *actions.shape[1:])
    up, down = (made.evaluate((actions + sign * units).contiguous()).cost for sign in (1, -1))
    numeric = ((up - down) / 2e-2).reshape(slope.shape)
    torch.testing.assert_close(slope, numeric, rtol=2e-2, atol=2e-2)  # float32, and costs around 20


@pytest.mark.parametrize("risk", [None, MEAN])
def test_the_expansion_is_exact(risk: Risk | None) -> None:
    made: Any = problem(risk)
    actions = candidates(1)
    linear = made.linearise(actions[0])
    later, gradient = linear.terminal_x, []
    for t in reversed(range(H)):
        gradient.append(linear.cost_u[t] + later @ linear.action[t])
        later = linear.cost_x[t] + later @ linear.state[t]
    moved = actions.clone().requires_grad_()
    judged = made.differentiate(moved)
    (slope,) = torch.autograd.grad(judged.step_cost.sum(), moved)
    torch.testing.assert_close(torch.stack(gradient[::-1]), slope[0], rtol=1e-4, atol=1e-5)
    assert torch.linalg.eigvalsh(linear.cost_xx).min() > -1e-9


def test_a_critic_is_expanded_too() -> None:
    class Tail:
        requests = ()

        def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
            return trajectory.states[:, -1].square().sum(-1)

    made: Any = problem(None)
    made = replace(made, objective=replace(made.objective, critic=Tail(), critic_weight=0.5))
    actions = candidates(1)
    end = made.imagine(actions).states[0, -1].double()
    linear = made.linearise(actions[0])
    torch.testing.assert_close(linear.terminal_x, end, rtol=1e-5, atol=1e-6)  # 0.5 · 2 x
    torch.testing.assert_close(linear.terminal_xx, torch.eye(len(end), dtype=torch.float64), rtol=1e-5, atol=1e-6)


# --- several futures ----------------------------------------------------------------------------------------------


def test_draws_of_z_follow_from_the_seed_of_the_decision() -> None:
    made = problem(MEAN)
    one, same = (made.evaluate(candidates()).cost for _ in range(2))
    assert torch.equal(one, same)
    others = [replace(made, seed=seed).evaluate(candidates()).cost for seed in range(6)]
    assert any(not torch.equal(one, other) for other in others)


def test_all_candidates_meet_the_same_draws() -> None:
    made = problem(WORST)
    twice = made.evaluate(candidates(2).repeat(2, 1, 1))
    torch.testing.assert_close(twice.cost[:2], twice.cost[2:], rtol=1e-6, atol=0)


def test_doubt_is_the_disagreement_of_members_and_not_the_spread_of_z() -> None:
    terms = ((1.0, Doubt()),)
    found = problem(MEAN, terms=terms).evaluate(candidates())
    assert (found.step_cost > 0).all()
    model = LatentEnsemble((weights()[0], weights()[0]))
    made = problem(MEAN, terms=terms)
    torch.testing.assert_close(
        replace(made, model=model).evaluate(candidates()).step_cost, torch.zeros(4, H).double(), rtol=0, atol=1e-6
    )
    apart = replace(made, model=LatentEnsemble((weights()[0], halved(weights()[0])))).evaluate(candidates())
    assert (apart.step_cost[:, -1] > 5 * found.step_cost[:, -1]).all()


def test_a_problem_of_one_future_has_no_risk() -> None:
    model = Latent(weights()[0])
    assert not isinstance(model, Plural)
    with pytest.raises(TelosError, match="risk: given with a Latent"):
        problem_over(model, robust=True)


# --- the widened judge ---------------------------------------------------------------------------------------------


def test_a_widened_margin_is_the_predicted_one_less_the_width() -> None:
    made = problem(None)
    path = made.imagine(candidates())
    wide, plain = made.judge.margins(path), Exact(rules()).margins(path)
    torch.testing.assert_close(plain - wide, widths().width.expand_as(wide))
    assert torch.equal(made.evaluate(candidates()).margin, wide.amin(1))
    assert (widths().width > 0).any()
    edges: Any = made
    stepped = edges.step(edges.root(), candidates(1)[:, :1])
    assert (stepped.margin <= wide[:1, :1].amin(1) + 1e-12).all(), "an edge may lie anywhere in the horizon"


def test_a_width_covers_what_it_says() -> None:
    """Split conformal prediction on exchangeable data: coverage of at least 1 - miss, up to the draw."""
    generator = torch.Generator().manual_seed(0)
    shape, covered = (200, 5, 1), []
    for _ in range(50):
        real = torch.randn(shape, generator=generator, dtype=torch.float64)
        predicted = real + torch.randn(shape, generator=generator, dtype=torch.float64).exp() - 0.5
        found = calibrated(rules(), predicted[:100], real[:100], predicted[100:], real[100:], 0.2)
        covered.append((predicted[100:] - found.width <= real[100:]).double().mean(0))
    rate = torch.stack(covered).mean(0)
    assert (rate > 0.78).all()
    assert (rate < 0.84).all(), "and no wider than needed"


def test_a_narrow_recall_or_too_little_data_does_not_arm() -> None:
    blind = replace(widths(), recall=torch.tensor([0.5]))
    with pytest.raises(
        TelosError, match=r"guardrail 'wall': given a recall of 0\.500; allowed: a recall of at least 0.9"
    ):
        Widened(rules(), blind)
    with pytest.raises(TelosError, match="no violation among its data"):
        Widened(rules(), replace(widths(), recall=torch.tensor([torch.nan])))
    few = calibrated(rules(), *(torch.zeros(3, H, 1, dtype=torch.float64) - 1 for _ in range(4)), miss=0.1)
    with pytest.raises(TelosError, match="a width of inf; allowed: more calibration data"):
        Widened(rules(), few)


def test_a_judge_of_other_rules_is_refused() -> None:
    wider = guardrails(({**WALL, "upper": 9.0},))
    with pytest.raises(GuardrailTampered):
        Widened(wider, widths())
    own = Widened(wider, replace(widths(), digest=wider.digest))
    with pytest.raises(GuardrailWeakened, match="judge"):
        agent(judge=own)


def test_beyond_the_calibrated_horizon_nothing_is_judged() -> None:
    made = problem(None)
    with pytest.raises(TelosError, match=f"planner.horizon: given {H + 1}; allowed: at most {H}, as the judge"):
        replace(made, horizon=H + 1)


# --- as a whole agent, from observations only ------------------------------------------------------------------------


def agent(**given: Any) -> Any:
    config = Config.model_validate(
        {
            "task": TASK,
            "perception": {"kind": "stacked", "depth": 2},
            "planner": {"kind": "icem", "horizon": H, "budget": {"evaluations": 64}},
            "guardrails": [WALL],
            "threads": 1,
            "risk": None,
        }
    )
    env = environment()
    model = LatentEnsemble(weights())
    costs = {"reward": (1.0, RewardHead(model.encoder))}
    more = {"model": model, "costs": costs, "judge": Widened(rules(), widths()), **given}
    made = build.agent(config, env.task, env.interface, **more)
    return made, build.world(config, env)


@pytest.mark.parametrize("risk", [None, WORST])
def test_it_acts_from_observations_only_and_keeps_its_rule(risk: Risk | None) -> None:
    made, world = agent(risk=risk)
    percept = world.reset(*range(40, 60))  # the first start that the rule allows
    made.reset(0)
    far = float(np.linalg.norm(percept.observation["position"]))
    for _ in range(120):
        assert percept.snapshot is None
        decision = made.act(percept)
        assert decision.problem.start.features.shape == (2 * F,)
        percept, judged = world.step(decision.action)
        made.remember(judged)
        assert not judged.violated
    made.finish(percept)
    assert float(np.linalg.norm(percept.observation["position"])) < far / 2
    assert made.memory.episodes[0].observations.shape == (121, F)
    assert made.memory.episodes[0].states.size == 0


def test_a_signal_that_it_does_not_predict_is_named_when_the_agent_is_built() -> None:
    blind = LatentEnsemble(weights())
    blind.signals = frozenset()
    with pytest.raises(TelosError, match=r"world_model: given no signal 'joint_position/root_x'.*'wall' reads"):
        agent(model=blind, costs={"reward": (1.0, RewardHead(blind.encoder))})
    with pytest.raises(TelosError, match="which the cost reads; allowed: a model that predicts it; this one has"):
        agent(costs=None)  # the task's reward reads signals that the model has no probe for


def test_a_model_of_states_is_refused_under_observations() -> None:
    with pytest.raises(TelosError, match=r"perception\.kind"):
        agent(model=None, costs=None, judge=None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"starts_from": "features"}, r"world_model\.starts_from: given 'features'; allowed: state, observation"),
        ({"action_size": 3}, r"world_model\.action_size: given 3; allowed: 2, as the task has it"),
        ({"dt": 0.5}, r"world_model\.dt: given 0\.5; allowed: 0\.02, as the task has it"),
        ({"stride": 2}, r"world_model\.stride"),
    ],
)
def test_a_model_that_does_not_fit_the_task_is_refused(change: dict[str, Any], said: str) -> None:
    model = LatentEnsemble(weights())
    vars(model).update(change)
    with pytest.raises(TelosError, match=said):
        agent(model=model, costs={"reward": (1.0, RewardHead(model.encoder))})


def test_a_model_without_a_part_is_refused() -> None:
    model = LatentEnsemble(weights())
    del model.spent
    with pytest.raises(TelosError, match="LatentEnsemble: without spent"):
        agent(model=model, costs={"reward": (1.0, RewardHead(model.encoder))})


def test_terms_that_do_not_count_need_no_signals() -> None:
    """The task's reward is not predicted; with a weight of 0, an effort alone is planned for."""
    config = Config.model_validate(
        {
            "task": TASK,
            "perception": {"kind": "stacked"},
            "planner": {"kind": "icem", "horizon": H, "budget": {"evaluations": 16}},
            "cost": {"task": 0.0, "effort": 1.0},
            "threads": 1,
        }
    )
    env = environment()
    made = build.agent(config, env.task, env.interface, model=LatentEnsemble(weights()))
    made.reset(0)
    assert made.act(build.world(config, env).reset(3)).plan.cost >= 0


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (torch.full((H, 1), -5.0).double(), ">= 0"),
        (torch.full((H, 1), -torch.inf).double(), ">= 0"),
        (torch.full((H, 1), torch.nan).double(), ">= 0"),
        (torch.zeros(0, 1).double(), "H >= 1"),
        (torch.zeros(H, 2).double(), "widths"),
    ],
)
def test_widths_that_would_relax_a_rule_do_not_arm(width: Tensor, said: str) -> None:
    with pytest.raises(TelosError, match=said):
        Widened(rules(), replace(widths(), width=width))


@pytest.mark.parametrize("recall", [0.0, -1.0, 1.5])
def test_a_recall_that_asks_for_nothing_does_not_arm(recall: float) -> None:
    with pytest.raises(TelosError, match="recall"):
        Widened(rules(), widths(), recall)


def test_widths_that_are_written_over_are_noticed() -> None:
    given = replace(widths(), width=widths().width.clone())
    judge = Widened(rules(), given)
    given.width.fill_(-100.0)
    judge.verify()  # it has a copy of its own
    judge.widths.width.fill_(-100.0)
    with pytest.raises(GuardrailTampered, match="other widths"):
        judge.verify()


def test_doubt_has_a_slope_where_members_agree() -> None:
    members = Ensemble([Latent(weights()[0]), Latent(halved(weights()[0]))])
    made: Any = replace(problem(MEAN, terms=((1.0, Doubt()), (0.1, Effort()))), model=members)
    still = torch.zeros(1, H, 2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(made.differentiate(still).step_cost.sum(), still)
    assert slope.isfinite().all()


def test_a_real_margin_that_is_no_number_is_never_covered() -> None:
    """A margin of +inf is a violation, so a prediction that is merely smaller has not foreseen it."""
    real = torch.zeros(40, 3, 1, dtype=torch.float64)
    for value in (torch.inf, -torch.inf, torch.nan):
        real[:, 1] = value
        width = calibrated(rules(), torch.zeros_like(real), real, torch.zeros_like(real), real, 0.1).width
        assert width[:, 0].tolist() == [0.0, torch.inf, 0.0]
