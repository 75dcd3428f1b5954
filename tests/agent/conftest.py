"""Routes through the maze preset, from any start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from agent import build
from agent.composition.branching import DiscretisableProblem
from agent.config.load import load
from envs.task import Snapshot, TaskParams
from planners import registry as planners
from planners.cells.best_first import Route
from planners.problem import Budget, Plan
from worldmodels.belief import Belief

Routed = Callable[..., tuple[Plan[Any], Route, DiscretisableProblem]]


@pytest.fixture(scope="session")
def routed() -> Routed:
    """(kind, start) -> the route that a planner with the maze's settings, and given parameters, finds from rest."""
    config = load("maze", overrides={"threads": 1})
    env = build.environment(config)
    agent = build.agent(config, env.task, env.interface)
    env.reset(seed=0)
    at_reset = env.snapshot().state.copy()
    env.close()
    horizon = config.planner.horizon
    fallback = {"fallback": torch.zeros(horizon, 2, dtype=torch.float64)}

    def found(kind: str, start: tuple[float, float], **params: Any) -> tuple[Plan[Any], Route, DiscretisableProblem]:
        state = at_reset.copy()
        state[1:3], state[3:5] = start, 0.0
        begin = Belief.at(Snapshot(state, TaskParams()))
        made = DiscretisableProblem(agent.model, agent.objective, agent.judge, begin, horizon, fallback)
        planner = planners.make(kind, **{**config.planner.params, **params})
        plan, after = planner.plan(planner.start(0), made, Budget(evaluations=config.planner.budget.evaluations))
        assert isinstance(after.memory, Route)
        assert plan.feasible
        return plan, after.memory, made

    return found
