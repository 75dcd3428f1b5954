"""Conformance tests of every registered intrinsic cost; registering a cost is enough to have it tested."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from agent import build
from agent.config.config import Config, CostConfig
from agent.cost.intrinsic import registry
from agent.cost.objective import Cost, Objective
from envs.task import Snapshot
from envs.trajectory import Signals, Trajectory
from worldmodels import registry as models
from worldmodels.belief import Belief

every = pytest.mark.parametrize("name", sorted(registry.TABLE.entries()))
TASK = "dm_control/cartpole-swingup-v0"
N, H = 6, 5


def imagined(cost: Cost) -> tuple[Trajectory, Snapshot]:
    """Candidates in a real task, with everything that the cost reads and with random doubt."""
    env = build.environment(Config(task=TASK))
    env.reset(seed=0)
    start = env.snapshot()
    model = models.make("simulator", env.task, env.interface, cost.requests, 1, {})
    generator = torch.Generator().manual_seed(0)
    actions = torch.rand(N, H, model.action_size, generator=generator, dtype=torch.float64) * 2 - 1
    actions[0] = actions[0].sign()  # at the limits, where some costs become positive
    doubt = torch.rand(N, H, generator=generator, dtype=torch.float64)
    env.close()
    return replace(model.imagine(Belief.at(start), actions), doubt=doubt), start


def part(trajectory: Trajectory, rows: slice = slice(None), steps: int = 0) -> Trajectory:
    """Some of the candidates, from a later step on."""
    signals = trajectory.signals
    return Trajectory(
        trajectory.states[rows, steps:],
        trajectory.actions[rows, steps:],
        Signals(
            {name: values[rows, steps:] for name, values in signals.state.items()},
            {name: values[rows, steps:] for name, values in signals.interval.items()},
        ),
        trajectory.valid[rows],
        trajectory.doubt[rows, steps:],
        trajectory.dt,
    )


def numbers(trajectory: Trajectory) -> list[Tensor]:
    signals = trajectory.signals
    return [trajectory.actions, trajectory.doubt, *signals.state.values(), *signals.interval.values()]


@every
def test_every_step_of_every_candidate_costs_something_finite(name: str) -> None:
    cost = registry.TABLE.load(name)()
    trajectory, start = imagined(cost)
    before = [tensor.clone() for tensor in numbers(trajectory)]
    found = cost.step_cost(trajectory, start.params)
    assert found.shape == (N, H)
    assert found.dtype == torch.float64
    assert bool(torch.isfinite(found).all())
    assert bool((found >= 0).all()), "its weight says how bad it is, and is never below 0"
    assert bool((found > 0).any())
    assert all(torch.equal(one, other) for one, other in zip(before, numbers(trajectory), strict=True))


@every
def test_a_candidate_costs_the_same_whoever_is_beside_it(name: str) -> None:
    cost = registry.TABLE.load(name)()
    trajectory, start = imagined(cost)
    together = cost.step_cost(trajectory, start.params)
    alone = torch.cat([cost.step_cost(part(trajectory, slice(i, i + 1)), start.params) for i in range(N)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-15)


@every
def test_whether_it_looks_back_is_as_it_says(name: str) -> None:
    """A future built step by step asks only for the cost of its last steps."""
    cost = registry.TABLE.load(name)()
    trajectory, start = imagined(cost)
    whole = cost.step_cost(trajectory, start.params)[:, 2:]
    rest = cost.step_cost(part(trajectory, steps=2), start.params)
    assert torch.allclose(rest, whole, rtol=0, atol=1e-15) != getattr(cost, "looks_back", False)


@every
def test_no_step_knows_what_comes_later(name: str) -> None:
    cost = registry.TABLE.load(name)()
    trajectory, start = imagined(cost)
    other = replace(trajectory, actions=trajectory.actions.clone(), doubt=trajectory.doubt.clone())
    other.actions[:, 3:], other.doubt[:, 3:] = 0.25, 7.0
    one, two = (cost.step_cost(future, start.params) for future in (trajectory, other))
    assert torch.equal(one[:, :3], two[:, :3])


@every
def test_its_weight_is_a_key_of_the_configuration_and_reaches_the_plan(name: str) -> None:
    env = build.environment(Config(task=TASK))
    names, without = build.objective(CostConfig(), env.task)
    assert names.count(name) == 1
    assert without.terms[names.index(name)][0] == 0.0, "nothing that was not asked for"
    _, objective = build.objective(CostConfig.model_validate({"task": 0.0, name: 3.0}), env.task)
    cost = registry.TABLE.load(name)()
    trajectory, start = imagined(cost)
    expected = Objective(((3.0, cost),)).step_cost(trajectory, start.params)
    assert torch.equal(objective.step_cost(trajectory, start.params), expected)
    assert set(cost.requests) <= set(objective.requests)
    env.close()
    for wrong in (-1.0, True, "1", float("nan")):
        with pytest.raises(ValidationError, match=name):
            CostConfig.model_validate({name: wrong})


def test_what_is_not_registered_is_no_key() -> None:
    with pytest.raises(ValidationError, match="efort"):
        CostConfig.model_validate({"efort": 1.0})
