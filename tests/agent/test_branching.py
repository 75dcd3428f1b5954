"""Futures built step by step equal those imagined at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agent import build
from agent.composition.branching import SteppableProblem
from agent.composition.compose import problem_over
from agent.composition.expansion import LinearisableProblem
from agent.composition.judge import Exact
from agent.config.config import CostConfig
from envs import registry
from envs.errors import TelosError
from envs.guardrails.registry import build as guardrails
from planners.capabilities import Differentiable, Discretisable, Guided, Linearisable, Measurable, Steppable
from worldmodels.belief import Belief
from worldmodels.simulator.simulator import Simulator

RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -0.1, "upper": 0.1, "unit": "m"}
LAGGING = ("Ant-v5", "Humanoid-v5", "HumanoidStandup-v5", "InvertedDoublePendulum-v5", "Pusher-v5", "Reacher-v5")


def problem(
    task_id: str, horizon: int = 6, rules: tuple[dict[str, object], ...] = (), **cost: float
) -> LinearisableProblem:
    env = registry.make(task_id)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(3):
        env.step(rng.uniform(-1, 1, env.interface.action_size))
    _, costs = build.objective(CostConfig.model_validate(cost), env.task)
    guards = guardrails(rules)
    model = Simulator(env.task, env.interface, (*costs.requests, *guards.requests), threads=1)
    fallback = torch.zeros(horizon, env.interface.action_size, dtype=torch.float64)
    kind = problem_over(model, robust=False)
    made = kind(model, costs, Exact(guards), Belief.at(env.snapshot()), horizon, {"fallback": fallback})
    env.close()
    assert isinstance(made, LinearisableProblem)
    return made


def candidates(made: SteppableProblem, number: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.uniform(-1, 1, (number, made.horizon, made.action_size)))


@pytest.mark.parametrize("task_id", sorted(set(registry.table()) - set(LAGGING)))
def test_steps_add_up_to_the_whole(task_id: str) -> None:
    made = problem(task_id)
    actions = candidates(made)
    whole = made.evaluate(actions)
    for edge in (1, 3):
        nodes, total, ended = made.root().repeat(3, 1), torch.zeros(3), torch.zeros(3, dtype=torch.bool)
        for begin in range(0, made.horizon, edge):
            stepped = made.step(nodes, actions[:, begin : begin + edge].contiguous())
            total = total + torch.where(ended, 0.0, stepped.cost)
            ended |= stepped.done
            nodes = stepped.nodes
        torch.testing.assert_close(total, whole.step_cost.sum(1), rtol=1e-12, atol=1e-12)


def test_steps_add_up_where_the_episode_ends_on_the_way() -> None:
    """All other costs end with the episode: `evaluate` and the edges stop at the same step."""
    made = problem("Hopper-v5", horizon=40, effort=1.0)
    actions = torch.full((1, 40, 3), 0.3, dtype=torch.float64)
    whole = made.evaluate(actions).step_cost
    for edge in (1, 4, 40):
        nodes, total, done = made.root(), 0.0, False
        for begin in range(0, made.horizon, edge):
            stepped = made.step(nodes, actions[:, begin : begin + edge].contiguous())
            nodes, total, done = stepped.nodes, total + stepped.cost.item(), bool(stepped.done)
            if done:
                break
        assert done
        assert total == pytest.approx(whole.sum().item(), rel=1e-12)


@pytest.mark.parametrize("task_id", LAGGING)
def test_signals_that_lag_cannot_be_taken_up(task_id: str) -> None:
    made = problem(task_id)
    with pytest.raises(TelosError, match="lags one physics step"):
        made.step(made.root(), candidates(made, 1)[:, :1])


def test_margins_of_edges_are_those_of_the_whole() -> None:
    made = problem("dm_control/cartpole-swingup-v0", horizon=20, rules=(RAIL,))
    actions = candidates(made)
    nodes, worst = made.root().repeat(3, 1), torch.full((3, 1), torch.inf, dtype=torch.float64)
    for begin in range(0, 20, 4):
        stepped = made.step(nodes, actions[:, begin : begin + 4].contiguous())
        worst, nodes = torch.minimum(worst, stepped.margin), stepped.nodes
        assert (stepped.violation == np.maximum(-stepped.margin[:, 0].numpy(), 0)).all()
    assert torch.equal(worst, made.evaluate(actions).margin)


def test_a_cost_that_looks_back_is_refused() -> None:
    made = problem("dm_control/cartpole-swingup-v0", action_rate=0.1)
    with pytest.raises(TelosError, match="action_rate"):
        made.step(made.root(), candidates(made, 1)[:, :1])


def test_a_diverged_edge_is_neither_valid_nor_cheap() -> None:
    made = problem("dm_control/cartpole-swingup-v0")
    nodes = made.root().repeat(2, 1)
    nodes[1, 1] = 1e12
    stepped = made.step(nodes, torch.zeros(2, 2, 1, dtype=torch.float64))
    assert stepped.valid.tolist() == [True, False]
    assert stepped.cost[1] == torch.inf
    assert stepped.violation.tolist() == [0, np.inf]


def test_what_a_model_allows_decides_the_problem() -> None:
    offered = problem_over(problem("dm_control/cartpole-swingup-v0").model, robust=False)
    for capability in (Steppable, Measurable, Discretisable, Linearisable, Guided):
        assert issubclass(offered, capability)
    assert not issubclass(offered, Differentiable)
