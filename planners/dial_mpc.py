"""DIAL-MPC: sampling whose noise is annealed twice, over the iterations and along the horizon.

Xue, Pan, Yi, Qu & Shi, "Full-Order Sampling-Based MPC for Torque-Level Locomotion via Diffusion-Style
Annealing", ICRA 2025 (arXiv 2409.15610), section IV.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planners.sampling.base import SamplingParams, SamplingPlanner
from planners.sampling.distribution import Distribution, softmin, weighted_mean
from planners.search.knots import Interpolation
from planners.search.select import Scores


@dataclass(frozen=True)
class DialMpcParams(SamplingParams):
    """Parameters of DIAL-MPC."""

    iterations: int = 4  # N: of annealing
    knots: int | None = 8  # P; a horizon shorter than this gets one per step
    interpolation: Interpolation = "cubic"
    temperature: float = 0.1  # lambda, in units of (median - least) of the costs weighted
    std: float = 1.0  # of the farthest knot in the first iteration, actions being in [-1,1]
    beta_iterations: float = 0.7  # beta_1: the smaller, the faster noise shrinks from iteration to iteration
    beta_horizon: float = 1.5  # beta_2: the smaller, the less noise near actions get compared with far ones

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("temperature", "std", "beta_iterations", "beta_horizon"):
            self.require(name, 0 < getattr(self, name) < np.inf, f"0 < {name} < inf")


class DialMpc(SamplingPlanner[DialMpcParams]):
    """MPPI's weighted mean under annealed noise; the mean is published where it is feasible."""

    Params = DialMpcParams
    mean_is = "published"
    lqr_tolerance = 0.02

    def begin(self, distribution: Distribution) -> Distribution:
        """std exp(-(H - h)/(beta_2 H)) at knot h of H: what was planned before is known best near the start."""
        count = len(distribution.mean)
        left = np.arange(count - 1, -1, -1) / count
        std = self.params.std * np.exp(-left / self.params.beta_horizon)
        return replace(distribution, std=np.repeat(std[:, None], distribution.mean.shape[1], 1))

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """The weighted mean of the candidates, and noise exp(-1/(beta_1 N)) times smaller."""
        p = self.params
        std = distribution.std * np.exp(-1 / (p.beta_iterations * p.iterations))
        weight = softmin(scores, p.temperature)
        mean = distribution.mean if weight is None else weighted_mean(weight, knots)
        return replace(distribution, mean=mean, std=std)
