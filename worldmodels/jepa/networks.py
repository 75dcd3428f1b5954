"""The networks of a joint-embedding predictive architecture (JEPA): encoder, predictor, and heads that losses need.

M members, B or N rows, L steps, F observed features, D latent size, A action size.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from envs.numbers import Flag, Whole
from worldmodels.layers import ALL, Dense, SimNorm, mlp, through


class JepaParams(BaseModel):
    """The sizes of the networks. All of them are part of a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latent: Whole = Field(default=64, ge=1, le=4096)
    width: Whole = Field(default=256, ge=1, le=4096, description="of hidden layers")
    encoder_layers: Whole = Field(default=2, ge=1, le=8, description="hidden layers")
    predictor_layers: Whole = Field(default=2, ge=1, le=8, description="hidden layers")
    predictor_width: Whole = Field(default=128, ge=1, le=4096)
    members: Whole = Field(default=1, ge=1, le=64, description="predictors, trained on different steps")
    latent_form: Literal["plain", "simnorm", "normalised"] = "plain"
    encoder: Literal["learned", "frozen", "identity"] = Field(
        default="learned", description="frozen: random weights; identity: the normalised observation"
    )
    norm: Flag = Field(default=True, description="layer normalisation of the predictor's hidden layers")


class Inputs(nn.Module):
    """What the encoder reads of an observation: numbers in units of their spread, and angles as cosine and sine."""

    mean: Tensor  # (F,) of what was observed in training
    scale: Tensor  # (F,)

    def __init__(self, features: int, angles: tuple[int, ...] = (), ignored: tuple[int, ...] = ()) -> None:
        """
        Args:
            features: F, of one belief.
            angles: the indices, in rad, whose multiples of 2 pi mean the same.
            ignored: indices that are not read.
        """
        super().__init__()
        self.features, self.angles = features, tuple(angles)
        self.numbers = tuple(i for i in range(features) if i not in angles and i not in ignored)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    @property
    def size(self) -> int:
        """Numbers that the encoder reads."""
        return len(self.numbers) + 2 * len(self.angles)

    def fit(self, mean: Tensor, scale: Tensor) -> None:
        """Take mean and standard deviation (F,) of what was observed; a constant feature keeps its unit."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(scale > 1e-6, scale, 1.0))

    def forward(self, observed: Tensor) -> Tensor:
        """(…,F) float32 -> (…,size)."""
        plain = (observed - self.mean) / self.scale
        parts = [plain[..., self.numbers]]
        if self.angles:
            turned = observed[..., self.angles]
            parts += [turned.cos(), turned.sin()]
        return torch.cat(parts, -1)


class Networks(nn.Module):
    """All weights that world-model losses train."""

    def __init__(self, inputs: Inputs, action_size: int, params: JepaParams, moments: int = 1, every: int = 1) -> None:
        """
        Args:
            moments: K, the compared moments of a training window after its first observation.
            every: E, the control steps between two of them.
        """
        super().__init__()
        self.params, self.inputs, self.action_size = params, inputs, action_size
        self.size = inputs.size if params.encoder == "identity" else params.latent
        hidden = [params.width] * params.encoder_layers
        self.encoder = nn.Identity() if params.encoder == "identity" else mlp(1, [inputs.size, *hidden, self.size])
        if params.encoder == "frozen":
            self.encoder.requires_grad_(False)
        across = [params.predictor_width] * params.predictor_layers
        self.predictor = mlp(params.members, [self.size + action_size, *across, self.size], params.norm)
        self.form = _form(params.latent_form)
        self.moments, self.every = moments, every
        self.inverse = mlp(1, [2 * self.size, params.predictor_width, every * action_size])
        self.inverse_ends = mlp(1, [2 * self.size, params.predictor_width, moments * every * action_size])
        self.decoder = mlp(1, [self.size, params.predictor_width, inputs.size])
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)

    def encode(self, observed: Tensor) -> Tensor:
        """Observations (…,F) to latents (…,D)."""
        return self._encoded(self.encoder, observed)

    def taught(self, observed: Tensor) -> Tensor:
        """The latents (…,D) of the teacher, without gradients."""
        with torch.no_grad():
            return self._encoded(self.teacher, observed)

    def teach(self, rate: float = 1.0) -> None:
        """Move the teacher, an exponential moving average of the encoder, by this share (BYOL; Grill et al. 2020)."""
        with torch.no_grad():
            for old, new in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
                old.lerp_(new, rate)

    def roll(self, latents: Tensor, actions: Tensor, member: int | None = None) -> Tensor:
        """The latents (M,N,L,D) after each step of actions (N,L,A), from latents (N,D), each member's own.

        The first layer's product with all actions is taken at once, because it does not depend on latents.

        Args:
            member: only this predictor's, (1,N,L,D); all of them where None.
        """
        own = ALL if member is None else slice(member, member + 1)
        first, *rest = self.predictor
        assert isinstance(first, Dense)
        weight = first.weight[own]
        of_latents, of_actions = weight[:, : self.size], weight[:, self.size :]
        number, length = actions.shape[:2]
        moves = actions.transpose(0, 1).reshape(1, length * number, -1).expand(len(weight), -1, -1)
        pushes = torch.baddbmm(first.bias[own], moves, of_actions).unflatten(1, (length, number))
        now, path = latents.expand(len(weight), *latents.shape), []
        for push in pushes.unbind(1):
            moved = through(rest, torch.baddbmm(push, now, of_latents), own)
            now = self.form(moved if self.params.latent_form == "simnorm" else now + moved)
            path.append(now)
        return torch.stack(path, 2)

    def action_between(self, before: Tensor, after: Tensor) -> Tensor:
        """Latents (B,K,D) at two moments -> the actions between them (B,K,E·A)."""
        pairs = torch.cat([before, after], -1).flatten(0, 1)[None]
        return self.inverse(pairs)[0].unflatten(0, before.shape[:2])

    def actions_between(self, first: Tensor, last: Tensor) -> Tensor:
        """The first and the last latents (B,D) of windows -> their actions (B,K,E·A)."""
        found = self.inverse_ends(torch.cat([first, last], -1)[None])[0]
        return found.unflatten(-1, (self.moments, self.every * self.action_size))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (…,D) -> what the encoder reads (…,F')."""
        return self.decoder(latents.reshape(1, -1, self.size))[0].unflatten(0, latents.shape[:-1])

    def _encoded(self, encoder: nn.Module, observed: Tensor) -> Tensor:
        rows = self.inputs(observed.reshape(-1, observed.shape[-1]))
        return self.form(encoder(rows[None])[0]).reshape(*observed.shape[:-1], self.size)


def _form(name: str) -> nn.Module:
    if name == "simnorm":
        return SimNorm()
    return _Unit() if name == "normalised" else nn.Identity()


class _Unit(nn.Module):
    """Layer normalisation without weights: zero mean and unit variance over the latent's dimensions."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:])
