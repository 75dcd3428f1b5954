"""The cost of the model's doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Trajectory


@dataclass(frozen=True)
class Doubt:
    """The world model's doubt about each step, as a cost (pessimism)."""

    requests: tuple[Request, ...] = ()
    reads_doubt: ClassVar[bool] = True

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,H), in the unit of the model's doubt."""
        return trajectory.doubt
