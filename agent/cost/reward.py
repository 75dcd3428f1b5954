"""The learned reward: what a step earns, read off the world model's latents.

N candidates, H control steps, D latent size, A action size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Trajectory, home
from worldmodels.layers import mlp


class RewardHead(nn.Module):
    """What a control step earns, and whether it ends the episode, from the latents after it and its action."""

    def __init__(self, latent: int, action_size: int, width: int) -> None:
        super().__init__()
        self.latent, self.action_size, self.width = latent, action_size, width
        self.net = mlp(1, [latent + action_size, width, width, 2])

    def forward(self, latents: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """(…,D) and (…,A) -> rewards (…) in units of their range, 0 the lowest; log odds of a termination (…)."""
        pairs = torch.cat([latents, actions.to(latents.dtype)], -1)
        found = self.net(pairs.reshape(1, -1, pairs.shape[-1]))[0].unflatten(0, pairs.shape[:-1])
        return found[..., 0], found[..., 1]


@dataclass(frozen=True, eq=False)
class LearnedReward:
    """Minus the reward that the head predicts, clipped to the reward's range. It also says where an episode ends."""

    head: RewardHead
    reward_range: tuple[float, float]  # per control step
    terminates: bool  # whether the task ends some episodes early
    requests: tuple[Request, ...] = ()
    reads_states: bool = True

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,H), in units of reward."""
        low, high = self.reward_range
        with torch.set_grad_enabled(trajectory.states.requires_grad):
            found = self.head(trajectory.states[:, 1:], trajectory.actions)[0].clamp(0, 1)
        return -(low + (high - low) * found)

    def ended(self, trajectory: Trajectory, params: TaskParams) -> Tensor | None:
        """Whether the episode has probably ended by the end of each step, (N,H) bool; None where it never does."""
        if not self.terminates:
            return None
        with torch.no_grad():
            odds = self.head(trajectory.states[:, 1:], trajectory.actions)[1]
        return (home(odds) > 0).cumsum(1) > 0
