"""The learned policy (Mode-1): it acts without a search, and proposes candidates to planners.

N rows, D latent size, A action size.
"""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from envs.numbers import Whole
from worldmodels.layers import Residual

LEAST, MOST = -5.0, 2.0  # of the logarithm of a standard deviation


class PolicyParams(BaseModel):
    """The sizes of the policy. All of them are part of a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: Whole = Field(default=128, ge=8, le=4096)
    blocks: Whole = Field(default=1, ge=0, le=8, description="residual blocks")


class GaussianPolicy(nn.Module):
    """A diagonal Gaussian through tanh (SAC; Haarnoja et al. 2018, appendix C)."""

    def __init__(self, latent: int, action_size: int, params: PolicyParams) -> None:
        super().__init__()
        self.params, self.latent, self.action_size = params, latent, action_size
        self.net = Residual(1, latent, 2 * action_size, params.width, params.blocks, 0.01)

    def forward(self, latents: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation (N,A) before tanh, of latents (N,D), computed in `dtype`."""
        mean, spread = self.net(latents[None].to(dtype))[0].float().chunk(2, -1)
        return mean, LEAST + 0.5 * (MOST - LEAST) * (spread.tanh() + 1)

    def act(self, latents: Tensor) -> Tensor:
        """The likeliest actions (N,A) in (-1,1)."""
        return self(latents)[0].tanh()

    def sample(self, latents: Tensor, noise: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Actions (N,A) in (-1,1) and their log densities (N,), for standard normal noise (N,A)."""
        mean, log_std = self(latents, dtype)
        raw = mean + log_std.exp() * noise
        normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)²), in a form that does not round to -inf
        squash = 2 * (math.log(2) - raw - nn.functional.softplus(-2 * raw))
        return raw.tanh(), (normal - squash).sum(-1)
