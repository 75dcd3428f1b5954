"""The learned reward: what a step earns, read off the world model's latents.

N candidates, H control steps, D latent size, A action size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Trajectory
from worldmodels.layers import mlp


class RewardHead(nn.Module):
    """The reward of a control step, from the latents after it and its action, in units of the reward's range."""

    def __init__(self, latent: int, action_size: int, width: int) -> None:
        super().__init__()
        self.latent, self.action_size, self.width = latent, action_size, width
        self.net = mlp(1, [latent + action_size, width, width, 1])

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """(…,D) and (…,A) -> (…), 0 the lowest reward and 1 the highest."""
        pairs = torch.cat([latents, actions.to(latents.dtype)], -1)
        return self.net(pairs.reshape(1, -1, pairs.shape[-1]))[0, :, 0].unflatten(0, pairs.shape[:-1])


@dataclass(frozen=True, eq=False)
class LearnedReward:
    """Minus the reward that the head predicts, clipped to the reward's range."""

    head: RewardHead
    reward_range: tuple[float, float]  # per control step
    requests: tuple[Request, ...] = ()
    reads_states: bool = True

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,H), in units of reward."""
        low, high = self.reward_range
        with torch.inference_mode():
            found = self.head(trajectory.states[:, 1:], trajectory.actions).clamp(0, 1)
        return -(low + (high - low) * found)
