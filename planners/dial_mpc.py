"""DIAL-MPC (diffusion-inspired annealing): MPPI with noise annealed over the iterations and along the horizon.

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

    iterations: int = 4  # N, annealing iterations
    knots: int | None = 8  # P; a shorter horizon has one knot per step
    interpolation: Interpolation = "cubic"
    temperature: float = 0.1  # lambda, in units of (median - least) of the weighted costs
    std: float = 1.0  # of the last knot's noise in the first iteration; actions are in [-1,1]
    beta_iterations: float = 0.7  # beta_1: a smaller value shrinks the noise faster over the iterations
    beta_horizon: float = 1.5  # beta_2: a smaller value reduces the noise of early knots relative to late ones

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("temperature", "std", "beta_iterations", "beta_horizon"):
            self.require(name, 0 < getattr(self, name) < np.inf, f"0 < {name} < inf")


class DialMpc(SamplingPlanner[DialMpcParams]):
    """Averages candidates as MPPI does, under annealed noise, and publishes the mean if it is feasible."""

    Params = DialMpcParams
    mean_is = "published"
    lqr_tolerance = 0.02

    def begin(self, distribution: Distribution) -> Distribution:
        """Set the noise to std exp(-(H - h)/(beta_2 H)) at knot h of H.

        Early knots get less noise, because earlier plans have optimised them more often.
        """
        count = len(distribution.mean)
        left = np.arange(count - 1, -1, -1) / count
        std = self.params.std * np.exp(-left / self.params.beta_horizon)
        return replace(distribution, std=np.repeat(std[:, None], distribution.mean.shape[1], 1))

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """The weighted mean of the candidates, and the noise multiplied by exp(-1/(beta_1 N))."""
        p = self.params
        std = distribution.std * np.exp(-1 / (p.beta_iterations * p.iterations))
        weight = softmin(scores, p.temperature)
        mean = distribution.mean if weight is None else weighted_mean(weight, knots)
        return replace(distribution, mean=mean, std=std)
