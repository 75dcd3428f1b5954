"""The cost of a goal, which a person may give at any time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agent.cost.objective import Cost
from envs.errors import TelosError
from envs.goal import Goal
from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Trajectory, home
from worldmodels.belief import Belief
from worldmodels.model import Branching, Comparable, WorldModel

SMOOTH = 1e-12  # under the square root, whose slope at 0 would be infinite


@dataclass(frozen=True)
class PredicateCost:
    """The mean over the predicate's signals of the distance from the target, in units of the distance allowed."""

    goal: Goal

    @property
    def requests(self) -> tuple[Request, ...]:
        return self.goal.requests

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,H), >= 0, dimensionless."""
        return torch.stack([near.residual.step_cost(trajectory) for near in self.goal.near]).mean(0)


@dataclass(frozen=True, eq=False)
class ObservationCost:
    """The distance of the model's state from that of the goal's observation, encoded once.

    It is not squared, so that its sum over the rollout does not neglect the last stretch (docs/adr/021-*.md).
    """

    model: WorldModel
    wanted: Tensor  # (1,D), the embedded state, or the state itself where the model has no embedding
    requests: tuple[Request, ...] = ()
    reads_states: bool = True

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,H), in the unit of the model's embedding."""
        states = trajectory.states[:, 1:]
        points = _points(self.model, states.flatten(0, 1)).unflatten(0, states.shape[:2])
        return ((points - self.wanted).square().sum(-1) + SMOOTH).sqrt()


def goal_cost(goal: Goal, model: WorldModel) -> Cost:
    """The cost that leads to a goal.

    Raises:
        TelosError: a signal that the model does not predict, or an observation that it cannot encode.
    """
    if goal.observation is None:
        for request in goal.requests:
            if request not in model.signals:
                names = sorted({found.name for found in model.signals if found.at == "state"})
                allowed = f"one that the world model predicts: {names}; or give the goal before the agent is built"
                raise TelosError("goal.signal", repr(request.name), allowed)
        return PredicateCost(goal)
    if model.starts_from != "observation" or not isinstance(model, Branching):
        given = f"an observation, with a {type(model).__name__}"
        raise TelosError("goal", given, "a predicate on signals, or a world model that encodes observations")
    return ObservationCost(model, _points(model, model.root(Belief(None, goal.observation))))


def _points(model: WorldModel, states: Tensor) -> Tensor:
    return home(model.embedding(states, model.dt) if isinstance(model, Comparable) else states)
