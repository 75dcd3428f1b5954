"""The losses of world models, as a table of functions of a rollout. A recipe gives each one that it uses a weight.

All of them are means over windows, steps, latent dimensions and members, so that weights do not depend on sizes (the
statistic of SIGReg alone grows with the windows, as published), and are dimensionless, because observations are
normalised. M members, B windows, K compared moments, D latent size, A action size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

KNOTS = 17  # at which SIGReg compares characteristic functions
SPAN = 5.0  # of these knots around 0, in standard deviations
DIRECTIONS = 256  # random projections of one SIGReg estimate


@dataclass(frozen=True, eq=False)
class Rollout:
    """What losses read: windows of experience, encoded at K+1 moments, and the rollout from their first observation.

    Between two moments lie E control steps, so a window has K·E of them.
    """

    latents: Tensor  # (B,K+1,D), the encoded observations, with gradients
    targets: Tensor  # (B,K+1,D), what is predicted: the latents, or a teacher's without gradients
    predicted: Tensor  # (M,B,K,D), rolled out from the first latent through all actions
    actions: Tensor  # (B,K,E·A) in [-1,1], those between two moments
    inside: Tensor  # (B,K), 1 where the moment after the first is inside its episode, else 0
    weight: Tensor  # (M,B,K), the same, and 0 where the member does not learn from the window
    inverse: Callable[[Tensor, Tensor], Tensor]  # latents (B,K,D) at two moments -> the actions between (B,K,E·A)
    inverse_ends: Callable[[Tensor, Tensor], Tensor]  # first and last latents (B,D) -> all actions (B,K,E·A)
    decode: Callable[[Tensor], Tensor]  # latents (…,D) -> what the encoder reads (…,F'), for `reconstruction`
    inputs: Tensor  # (B,K+1,F'), what the encoder reads
    generator: torch.Generator  # of what a loss draws


Loss = Callable[[Rollout], Tensor]
"""A scalar."""


def prediction(rollout: Rollout) -> Tensor:
    """Squared distance of every rolled-out latent from the target (JEPA; LeCun 2022, section 4.4)."""
    return _mean((rollout.predicted - rollout.targets[None, :, 1:]).square().mean(-1), rollout.weight)


def cosine(rollout: Rollout) -> Tensor:
    """1 minus the cosine similarity of rolled-out latents and targets (SPR; Schwarzer et al. 2021, eq. 2)."""
    found = torch.nn.functional.cosine_similarity(rollout.predicted, rollout.targets[None, :, 1:], dim=-1)
    return _mean(1 - found, rollout.weight)


def variance(rollout: Rollout) -> Tensor:
    """How far each dimension's standard deviation is below 1 (VICReg; Bardes et al. 2022, eq. 1)."""
    spread = (rollout.latents[:, 0].var(0) + 1e-4).sqrt()
    return torch.relu(1 - spread).mean()


def covariance(rollout: Rollout) -> Tensor:
    """Sum of the squared covariances of different dimensions, over D (VICReg; Bardes et al. 2022, eq. 4)."""
    latents = rollout.latents[:, 0]
    centred = latents - latents.mean(0)
    found = centred.T @ centred / (len(latents) - 1)
    return (found.square().sum() - found.diagonal().square().sum()) / latents.shape[-1]


def similarity(rollout: Rollout) -> Tensor:
    """Squared distance of consecutive compared latents (PLDM; Sobal et al. 2025, eq. 6)."""
    change = rollout.latents[:, 1:] - rollout.latents[:, :-1]
    return _mean(change.square().mean(-1), rollout.inside)


def inverse(rollout: Rollout) -> Tensor:
    """Squared error of the actions that a head reads off two consecutive latents (Pathak et al. 2017, eq. 2)."""
    found = rollout.inverse(rollout.latents[:, :-1], rollout.latents[:, 1:])
    return _mean((found - rollout.actions).square().mean(-1), rollout.inside)


def inverse_ends(rollout: Rollout) -> Tensor:
    """Squared error of all actions of a window, read off its first and last latent (arXiv 2610.07540)."""
    found = rollout.inverse_ends(rollout.latents[:, 0], rollout.latents[:, -1])
    whole = rollout.inside.amin(1, keepdim=True).expand_as(rollout.inside)
    return _mean((found - rollout.actions).square().mean(-1), whole)


def sigreg(rollout: Rollout) -> Tensor:
    """Distance of the latents from an isotropic Gaussian (SIGReg; Balestriero and LeCun 2025).

    The Epps-Pulley statistic: along random directions, the squared difference of the empirical characteristic function
    from that of a standard normal, integrated under a Gaussian weight by the trapezoidal rule.
    """
    latents = rollout.latents[:, 0]
    drawn = torch.randn(latents.shape[-1], DIRECTIONS, generator=rollout.generator).to(latents)
    knots = torch.linspace(-SPAN, SPAN, KNOTS).to(latents)
    angles = (latents @ (drawn / drawn.norm(dim=0)))[..., None] * knots  # (B,directions,knots)
    normal = torch.exp(-knots.square() / 2)
    apart = (angles.cos().mean(0) - normal).square() + angles.sin().mean(0).square()
    return torch.trapezoid(apart * normal, knots, dim=-1).mean() * len(latents)


def contrastive(rollout: Rollout) -> Tensor:
    """Cross-entropy of finding the right target of each last prediction in the batch (InfoNCE; Oord et al. 2018)."""
    predicted, wanted = rollout.predicted[:, :, -1], rollout.targets[:, -1]
    scores = -(predicted[:, :, None] - wanted[None, None]).square().mean(-1) / 0.1  # (M,B,B)
    right = torch.arange(len(wanted), device=wanted.device).expand(len(predicted), -1)
    found = torch.nn.functional.cross_entropy(scores.flatten(0, 1), right.flatten(), reduction="none")
    return _mean(found, rollout.weight[:, :, -1].flatten())


def reconstruction(rollout: Rollout) -> Tensor:
    """Squared error of what a decoder reads off latents: the autoencoder, which joint embedding is compared with."""
    found = (rollout.decode(rollout.latents) - rollout.inputs).square().mean(-1)
    return _mean(found, torch.nn.functional.pad(rollout.inside, (1, 0), value=1.0))


TABLE: Mapping[str, Loss] = MappingProxyType(
    {
        "prediction": prediction,
        "cosine": cosine,
        "variance": variance,
        "covariance": covariance,
        "similarity": similarity,
        "inverse": inverse,
        "inverse_ends": inverse_ends,
        "sigreg": sigreg,
        "contrastive": contrastive,
        "reconstruction": reconstruction,
    }
)


def total(rollout: Rollout, weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, and each term by name without gradients."""
    terms = {name: TABLE[name](rollout) for name, weight in weights.items() if weight != 0}
    whole = sum((weights[name] * term for name, term in terms.items()), rollout.latents.new_zeros(()))
    return whole, {name: term.detach() for name, term in terms.items()}


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)
