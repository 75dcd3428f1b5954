"""The critic: how much reward a policy still earns from a state, as an ensemble of distributions over bins.

M members, N rows, D latent size, A action size, B bins. Values are discounted mean rewards per decision, in units of
the reward's range: 0 is the lowest reward for ever, 1 the highest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from envs.numbers import Whole
from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Trajectory
from worldmodels.layers import Residual, root


class CriticParams(BaseModel):
    """The sizes of the critic. All of them are part of a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: Whole = Field(default=2, ge=1, le=64, description="Q functions")
    width: Whole = Field(default=256, ge=8, le=4096)
    blocks: Whole = Field(default=1, ge=0, le=8, description="residual blocks")
    bins: Whole = Field(default=101, ge=2, le=10_001, description="of the distribution of values")


class Critics(nn.Module):
    """M action-value functions. Each one is a categorical distribution over bins (two-hot; Hafner et al. 2023)."""

    bins: Tensor  # (B,), from -1 to 1

    def __init__(self, latent: int, action_size: int, params: CriticParams) -> None:
        super().__init__()
        self.params, self.latent, self.action_size = params, latent, action_size
        self.net = Residual(params.members, latent + action_size, params.bins, params.width, params.blocks, 0.1)
        # Around 0, so that values begin there: an estimate that is too high falls at the rate of 1 - discount alone.
        self.register_buffer("bins", torch.linspace(-1, 1, params.bins))

    def forward(self, latents: Tensor, actions: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Logits (M,N,B) float32 of latents (N,D) and actions (N,A), computed in `dtype`."""
        pairs = torch.cat([latents, actions], -1).to(dtype)
        return self.net(pairs.expand(self.params.members, -1, -1)).float()

    def values(self, logits: Tensor) -> Tensor:
        """(M,N,B) -> (M,N), the means."""
        return logits.softmax(-1) @ self.bins

    def loss(self, logits: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
        """Cross-entropy with the two bins around each wanted value: summed over members, the mean over rows.

        Args:
            logits: (M,N,B)
            wanted: (N,) in [0,1]
            weight: (N,), of each row
        """
        step = 2 / (len(self.bins) - 1)
        shares = torch.relu(1 - (wanted[:, None] - self.bins).abs() / step)
        rows = -(shares * logits.log_softmax(-1)).sum(-1)
        return (rows * weight).sum() / weight.sum().clamp(min=1)


@dataclass(frozen=True, eq=False)
class LearnedCritic:
    """The terminal cost: minus what the policy still earns from the last state, in the reward's own unit.

    A value is a mean over members, less `doubt` times their standard deviation.
    """

    critics: Critics
    act: Callable[[Tensor], Tensor]  # latents (N,D) -> the policy's actions (N,A)
    read: Callable[[Trajectory], Tensor]  # the last states of a trajectory as latents (N,D)
    reward_range: tuple[float, float]  # per control step
    steps: float  # the control steps that a value of 1 stands for: hold / (1 - discount)
    doubt: float = 0.5
    requests: tuple[Request, ...] = ()

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,) float64, in units of reward."""
        with torch.set_grad_enabled(trajectory.states.requires_grad):
            latents = self.read(trajectory)
            values = self.critics.values(self.critics(latents, self.act(latents)))
            found = (values.mean(0) - self.doubt * root(values.var(0, unbiased=False))).clamp(0, 1)
        low, high = self.reward_range
        return -self.steps * (low + (high - low) * found.double())
