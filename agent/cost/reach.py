"""The learned cost-to-go of goals: how many control steps a state is away from another one.

N rows, D latent size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Trajectory, zeros
from worldmodels.layers import mlp


class ReachHead(nn.Module):
    """The control steps from one latent to another (a temporal distance), of the quickest ways that were seen."""

    def __init__(self, latent: int, width: int, unit: int) -> None:
        """
        Args:
            unit: control steps; the network's own numbers are in this unit.
        """
        super().__init__()
        self.latent, self.width, self.unit = latent, width, unit
        self.net = mlp(1, [2 * latent, width, width, 1], norm=False)

    def forward(self, latents: Tensor, goals: Tensor) -> Tensor:
        """(N,D) and (N,D) or (1,D) -> (N,) >= 0, control steps."""
        pairs = torch.cat([latents, goals.expand_as(latents)], -1)
        return self.unit * nn.functional.softplus(self.net(pairs[None])[0, :, 0])


@dataclass(frozen=True, eq=False)
class ReachCritic:
    """The terminal cost of a goal: the control steps that are still needed after the plan, beyond a few.

    Distances that are summed over the rollout lead to a near goal, and this cost leads around what they cannot see.
    Close to the goal it is 0, because a distance in time is not precise there.
    """

    head: ReachHead
    beyond: float  # control steps that cost nothing
    wanted: Tensor | None = None  # (1,D), the latents of the goal; no cost without one
    weight: float = 1.0  # of the goal
    requests: tuple[Request, ...] = ()

    def towards(self, wanted: Tensor, weight: float) -> ReachCritic:
        """The critic of a goal with this weight, whose latents are (1,D)."""
        return replace(self, wanted=wanted.to(torch.float32), weight=weight)

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,), 1 for each control step: as much as one more step at a distance of 1."""
        if self.wanted is None:
            return zeros(len(trajectory.actions))
        with torch.set_grad_enabled(trajectory.states.requires_grad):
            return self.weight * torch.relu(self.head(trajectory.states[:, -1], self.wanted) - self.beyond)
