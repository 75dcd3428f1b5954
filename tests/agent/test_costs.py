"""Cost terms against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agent.cost.intrinsic.action_rate import ActionRate
from agent.cost.intrinsic.doubt import Doubt
from agent.cost.intrinsic.effort import Effort
from agent.cost.objective import Objective, TaskCost
from envs import registry
from envs.errors import TelosError
from envs.requests import Request
from envs.residuals import Residual
from envs.task import TaskParams
from envs.trajectory import Signals, Trajectory
from worldmodels.belief import Belief

PARAMS = TaskParams()


def trajectory(
    number: int = 2, horizon: int = 3, size: int = 2, doubt: Tensor | None = None, **signals: Tensor
) -> Trajectory:
    generator = torch.Generator().manual_seed(0)
    actions = torch.rand(number, horizon, size, generator=generator, dtype=torch.float64) * 2 - 1
    state = {name.replace("__", "/"): value for name, value in signals.items() if value.ndim == 3}
    interval = {name.replace("__", "/"): value for name, value in signals.items() if value.ndim == 4}
    return Trajectory(
        torch.empty(number, horizon + 1, 0),
        actions,
        Signals(state, interval),
        torch.ones(number, dtype=torch.bool),
        torch.zeros(number, horizon, dtype=torch.float64) if doubt is None else doubt,
        0.1,
    )


@dataclass(frozen=True)
class FakeTask:
    """A task with given rewards and ends of every step."""

    rewards: Tensor
    ends: Tensor | None
    requests: tuple[Request, ...] = ()

    def reward(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        return self.rewards

    @property
    def termination(self) -> Any:
        return None if self.ends is None else lambda trajectory, params: self.ends


class Beyond:
    """A critic."""

    requests: tuple[Request, ...] = ()

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        return torch.full((len(trajectory.actions),), 5.0, dtype=torch.float64)


def test_task_cost_is_minus_the_reward() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    cost = TaskCost(FakeTask(rewards, None)).step_cost(trajectory(1), PARAMS)  # type: ignore[arg-type]
    assert torch.equal(cost, -rewards)


def test_nothing_is_earned_after_the_end() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0, 4.0]] * 4, dtype=torch.float64)
    ends = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]], dtype=torch.bool)
    given = rewards.clone()
    cost = Objective(((1.0, TaskCost(FakeTask(given, ends))),)).step_cost(trajectory(4, 4), PARAMS)  # type: ignore[arg-type]
    # The step that ends the episode still counts.
    expected = [[-1, -2, -3, -4], [-1, 0, 0, 0], [-1, -2, 0, 0], [-1, -2, -3, -4]]
    assert cost.tolist() == expected
    assert torch.equal(given, rewards)  # the task's own tensor is not modified


def test_what_comes_after_the_end_may_be_anything() -> None:
    rewards = torch.tensor([[1.0, float("nan"), float("inf")]], dtype=torch.float64)
    ends = torch.tensor([[True, False, False]])
    cost = Objective(((1.0, TaskCost(FakeTask(rewards, ends))),)).step_cost(trajectory(1), PARAMS)  # type: ignore[arg-type]
    assert cost.tolist() == [[-1.0, 0.0, 0.0]]


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_nothing_costs_after_the_end_either(weight: float) -> None:
    """This holds for every term and any weight of the reward: branching planners stop where an episode ends."""
    rewards = torch.ones(1, 3, dtype=torch.float64)
    ends = torch.tensor([[False, True, False]])
    terms = ((weight, TaskCost(FakeTask(rewards, ends))), (1.0, Effort()))  # type: ignore[arg-type]
    imagined = trajectory(1)
    effort = Effort().step_cost(imagined, PARAMS)
    expected = (effort - weight * rewards) * torch.tensor([[1, 1, 0]])
    torch.testing.assert_close(Objective(terms).step_cost(imagined, PARAMS), expected)


@pytest.mark.parametrize("ends", [None, torch.tensor([[False, True, False], [False, False, False]])])
def test_nothing_is_to_come_after_the_end(ends: Tensor | None) -> None:
    task = TaskCost(FakeTask(torch.ones(2, 3, dtype=torch.float64), ends))  # type: ignore[arg-type]
    cost = Objective(((1.0, task),), Beyond()).terminal_cost(trajectory(2), PARAMS)
    assert cost.tolist() == [5.0 if ends is None else 0.0, 5.0]


def test_a_real_task_ends_earning_where_its_environment_ends() -> None:
    """InvertedPendulum-v5: a hard push ends the episode, and the imagined reward must stop there."""
    from agent import build
    from agent.config.config import Config

    config = Config.model_validate({"task": "InvertedPendulum-v5", "threads": 1})
    env = build.environment(config)
    agent = build.agent(config, env.task, env.interface)
    env.reset(seed=0)
    push = torch.ones(1, 30, 1, dtype=torch.float64)
    imagined = agent.model.imagine(Belief.at(env.snapshot()), push)
    cost = Objective(((1.0, TaskCost(env.task)),)).step_cost(imagined, env.snapshot().params)[0]
    earned, terminated = [], False
    for t in range(30):
        if terminated:
            earned.append(0.0)
            continue
        _, reward, terminated, _, _ = env.step(push[0, t].numpy())
        earned.append(float(reward))
    assert terminated
    assert 0 in earned[:-1]
    np.testing.assert_array_equal(-cost.numpy(), earned)


@pytest.mark.parametrize("shape", [(), (2,), (2, 1), (1, 3), (2, 3, 1)])
def test_a_term_answers_for_every_step(shape: tuple[int, ...]) -> None:
    """A term of another shape would broadcast in the sum, with a wrong result."""
    task = FakeTask(torch.ones(shape, dtype=torch.float64), None)
    with pytest.raises(TelosError, match=r"cost TaskCost: given shape .*; allowed: \(N,H\) = \(2, 3\)"):
        Objective(((1.0, TaskCost(task)), (0.1, Effort()))).step_cost(trajectory(), PARAMS)  # type: ignore[arg-type]


def test_effort() -> None:
    given = trajectory(3, 4, 2)
    cost = Effort().step_cost(given, PARAMS)
    assert cost.shape == (3, 4)
    a = given.actions[1, 2]
    assert cost[1, 2] == pytest.approx((float(a[0]) ** 2 + float(a[1]) ** 2) / 2)


def test_action_rate() -> None:
    given = trajectory(3, 4, 2)
    cost = ActionRate().step_cost(given, PARAMS)
    assert cost.shape == (3, 4)
    assert torch.equal(cost[:, 0], torch.zeros(3, dtype=torch.float64))
    change = given.actions[1, 2] - given.actions[1, 1]
    assert cost[1, 2] == pytest.approx((float(change[0]) ** 2 + float(change[1]) ** 2) / 2)
    assert ActionRate().step_cost(trajectory(3, 1), PARAMS).tolist() == [[0.0]] * 3


def test_doubt() -> None:
    doubt = torch.tensor([[0.1, 0.2, 0.3]] * 2, dtype=torch.float64)
    assert torch.equal(Doubt().step_cost(trajectory(doubt=doubt), PARAMS), doubt)


# --- the objective ---------------------------------------------------------------------------------------


class Constant:
    """A term that costs the same everywhere."""

    def __init__(self, value: float, *names: str) -> None:
        self.value = value
        self.requests = tuple(Request(name, "state") for name in names)

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        return torch.full(trajectory.actions.shape[:2], self.value, dtype=torch.float64)


class Tail:
    @property
    def requests(self) -> tuple[Request, ...]:
        return (Request("time", "state"),)

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        return torch.arange(trajectory.actions.shape[0], dtype=torch.float64)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=4))
def test_the_objective_is_the_weighted_sum(terms: list[tuple[float, float]]) -> None:
    objective = Objective(tuple((weight, Constant(value)) for weight, value in terms))
    cost = objective.step_cost(trajectory(), PARAMS)
    assert cost.shape == (2, 3)
    assert cost.dtype == torch.float64
    expected = sum(weight * value for weight, value in terms)
    np.testing.assert_allclose(cost.numpy(), np.full((2, 3), expected), atol=1e-12)
    assert torch.equal(objective.terminal_cost(trajectory(), PARAMS), torch.zeros(2, dtype=torch.float64))


def test_a_term_is_not_changed_by_being_summed() -> None:
    doubt = torch.ones(2, 3, dtype=torch.float64)
    given = trajectory(doubt=doubt)
    objective = Objective(((1.0, Doubt()), (2.0, Constant(3.0))))
    assert objective.step_cost(given, PARAMS).tolist() == [[7.0] * 3] * 2
    assert torch.equal(doubt, torch.ones(2, 3, dtype=torch.float64))


def test_requests_and_critic_survive_new_weights() -> None:
    objective = Objective(((1.0, Constant(1.0, "qpos", "qvel")), (0.0, Constant(2.0, "act"))), Tail())
    other = objective.reweighted((3.0, 0.5))
    names = [request.name for request in other.requests]
    assert names == [request.name for request in objective.requests] == ["qpos", "qvel", "act", "time"]
    assert other.step_cost(trajectory(), PARAMS).tolist() == [[4.0] * 3] * 2
    assert other.terminal_cost(trajectory(), PARAMS).tolist() == [0.0, 1.0]
    assert objective.step_cost(trajectory(), PARAMS).tolist() == [[1.0] * 3] * 2
    for wrong in ((1.0,), (1.0, 1.0, 1.0)):
        with pytest.raises(ValueError, match="zip"):
            objective.reweighted(wrong)


# --- residuals --------------------------------------------------------------------------------------------

P = 0.5
VALUE = torch.tensor([[[9.0, 9.0], [1.0, -2.0], [0.0, 0.5], [3.0, 4.0]]], dtype=torch.float64)  # (1,H+1,2)
ROWS = [[1.0, -2.0], [0.0, 0.5], [3.0, 4.0]]  # after each step


def by_hand(norm: str, r: list[float]) -> float:
    if norm == "quadratic":
        return 0.5 * sum(x * x for x in r)
    if norm == "l2":
        return math.sqrt(sum(x * x for x in r) + P * P) - P
    if norm == "smooth_abs":
        return sum(math.sqrt(x * x + P * P) - P for x in r)
    return sum(P * P * (math.cosh(x / P) - 1) for x in r)


@pytest.mark.parametrize("norm", ["quadratic", "l2", "smooth_abs", "cosh"])
def test_norms(norm: Any) -> None:
    residual = Residual(signal="qpos", norm=norm, width=P, weight=2.0, target=(0.5, 0.25))
    cost = residual.step_cost(trajectory(1, qpos=VALUE), PARAMS)
    assert cost.shape == (1, 3)
    for t, (x, y) in enumerate(ROWS):
        assert float(cost[0, t]) == pytest.approx(2.0 * by_hand(norm, [x - 0.5, y - 0.25]), rel=1e-12)


@pytest.mark.parametrize("norm", ["quadratic", "l2", "smooth_abs", "cosh"])
def test_a_norm_of_nothing_is_nothing_and_grows(norm: Any) -> None:
    levels = torch.linspace(0, 2, 9, dtype=torch.float64).reshape(1, 9, 1)
    cost = Residual(signal="qpos", norm=norm, width=P).step_cost(trajectory(1, 8, qpos=levels), PARAMS)[0]
    assert bool((cost.diff() > 0).all())
    still = torch.zeros(1, 9, 1, dtype=torch.float64)
    assert not Residual(signal="qpos", norm=norm).step_cost(trajectory(1, 8, qpos=still), PARAMS).any()


def test_component_and_reference() -> None:
    other = VALUE + torch.tensor([10.0, 20.0], dtype=torch.float64)
    given = trajectory(1, body_position__a=VALUE, body_position__b=other)
    residual = Residual(signal="body_position/b", reference="body_position/a", component=1, target=18.0)
    assert [r.name for r in residual.requests] == ["body_position/b", "body_position/a"]
    np.testing.assert_allclose(residual.step_cost(given, PARAMS).numpy(), [[2.0] * 3])  # ½·2²


def test_a_force_is_read_at_the_last_substep() -> None:
    values = torch.tensor([[[[5.0], [1.0]], [[5.0], [2.0]], [[5.0], [3.0]]]], dtype=torch.float64)  # (1,3,K=2,1)
    residual = Residual(signal="actuator_force/m")
    assert residual.requests == (Request("actuator_force/m", "interval"),)
    assert residual.step_cost(trajectory(1, actuator_force__m=values), PARAMS).tolist() == [[0.5, 2.0, 4.5]]


def test_tolerance() -> None:
    residual = Residual(signal="qpos", component=0, norm="tolerance", lower=0.0, upper=1.0, margin=4.0, weight=3.0)
    cost = residual.step_cost(trajectory(1, qpos=VALUE), PARAMS)
    np.testing.assert_allclose(cost.numpy(), [[0.0, 0.0, 3.0 * 0.5]])  # 2 above the range, margin 4: half


@pytest.mark.parametrize(
    "wrong",
    [
        {"norm": "tolerance"},
        {"lower": 0.0},
        {"norm": "tolerance", "lower": 1.0, "upper": 0.0},
        {"width": 0.0},
        {"norm": "l1"},
        {"weight": float("nan")},
    ],
)
def test_a_residual_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Residual.model_validate({"signal": "qpos", **wrong})


@pytest.mark.parametrize("task", ["dm_control/walker-walk-v0", "Hopper-v5"])
def test_shapes_on_real_tasks(task: str) -> None:
    from worldmodels.simulator.simulator import Simulator

    env = registry.make(task)
    residuals = (Residual(signal="qvel", norm="cosh", width=10.0), Residual(signal="ctrl", weight=0.1))
    requests = [request for residual in residuals for request in residual.requests]
    model = Simulator(env.task, env.interface, requests, threads=1)
    env.reset(seed=0)
    start = env.snapshot()
    actions = torch.zeros(5, 4, env.interface.action_size, dtype=torch.float64)
    imagined = model.imagine(Belief.at(start), actions)
    terms = (TaskCost(env.task), *residuals, Effort(), ActionRate(), Doubt())
    objective = Objective(tuple((0.5, term) for term in terms))
    for cost in (
        *(term.step_cost(imagined, start.params) for term in terms),
        objective.step_cost(imagined, start.params),
    ):
        assert cost.shape == (5, 4)
        assert cost.dtype == torch.float64
        assert bool(torch.isfinite(cost).all())
