"""The cost of effort."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Trajectory


@dataclass(frozen=True)
class Effort:
    """Mean squared action, so that effort is spent only where it pays."""

    requests: tuple[Request, ...] = ()

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,H), dimensionless: actions are in [-1,1]."""
        return trajectory.actions.square().mean(-1)
