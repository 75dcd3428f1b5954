"""The cost of changing the action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Trajectory


@dataclass(frozen=True)
class ActionRate:
    """Mean squared change between consecutive actions; 0 at the first step."""

    requests: tuple[Request, ...] = ()
    looks_back: ClassVar[bool] = True

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,H), dimensionless: actions are in [-1,1]."""
        change = torch.zeros_like(trajectory.actions[..., 0])
        change[:, 1:] = trajectory.actions.diff(dim=1).square().mean(-1)
        return change
