"""The cost of what the model is sure of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Trajectory


@dataclass(frozen=True)
class Curiosity:
    """1 where the world model has no doubt about a step, less the more it has: plans go where members disagree.

    Source: disagreement as a reward (Pathak et al. 2019, eq. 1), planned for as in Plan2Explore (Sekar et al. 2020).
    The form 1/(1 + doubt) keeps the cost above 0, as graph search needs it, and is 1 - doubt where doubt is small.
    """

    requests: tuple[Request, ...] = ()
    reads_doubt: ClassVar[bool] = True

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,H), in (0,1]."""
        return 1 / (1 + trajectory.doubt)
