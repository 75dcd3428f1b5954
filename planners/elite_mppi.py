"""MPPI over an elite set: the planner of TD-MPC and TD-MPC2.

Hansen, Wang & Su, "Temporal Difference Learning for Model Predictive Control", ICML 2022, equations 4 and 5;
Hansen, Su & Wang, "TD-MPC2", ICLR 2024, section 3.3. In both papers the noise is white along time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planners.sampling.base import SamplingParams, SamplingPlanner
from planners.sampling.distribution import Distribution, elites, softmin, split, weighted_mean
from planners.search.noise import coloured
from planners.search.select import Scores


@dataclass(frozen=True)
class EliteMppiParams(SamplingParams):
    """Parameters of MPPI over elites."""

    iterations: int = 4
    elites: int = 16  # K: the number of best candidates that are averaged
    temperature: float = 0.2  # lambda, in units of (median - least) of the elites' costs
    std: float = 1.0  # of the noise at the start of every round, and its maximum; actions are in [-1,1]
    least_std: float = 0.05  # floor of the standard deviation, so that the search does not collapse
    beta: float = 1.0  # noise colour, power 1/f^beta along time; 0 is the papers' white noise

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("elites", self.elites >= 1, ">= 1")
        self.require("temperature", 0 < self.temperature < np.inf, "0 < temperature < inf")
        self.require("std", 0 < self.std < np.inf, "0 < std < inf")
        self.require("least_std", 0 <= self.least_std <= self.std, f"0 <= least_std <= std = {self.std}")
        self.require("beta", 0 <= self.beta <= 20, "0 <= beta <= 20")


class EliteMppi(SamplingPlanner[EliteMppiParams]):
    """MPPI over the elites: mean and standard deviation have weights exp(-cost / temperature).

    The mean is published if it is feasible. A cross between CEM and MPPI; TD-MPC simply calls it MPPI.
    """

    Params = EliteMppiParams
    mean_is = "published"
    lqr_tolerance = 0.03

    def begin(self, distribution: Distribution) -> Distribution:
        """Keep the mean, reset the standard deviation."""
        return replace(distribution, std=np.full_like(distribution.mean, self.params.std))

    def noise(self, rng: np.random.Generator, count: int, knots: int, size: int) -> np.ndarray:
        """Noise coloured along time."""
        return coloured(rng, self.params.beta, count, knots, size)

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """Weighted mean and standard deviation of the elites (equation 4)."""
        chosen, values = elites(knots, scores, self.params.elites)
        weight = softmin(values, self.params.temperature) if len(values) else None
        if weight is None:
            return distribution
        mean = weighted_mean(weight, chosen)
        std = np.sqrt(weighted_mean(weight, (chosen - mean) ** 2))
        return replace(distribution, mean=mean, std=np.clip(std, self.params.least_std, self.params.std))

    def split(self, total: int) -> tuple[int, ...]:
        """Fewer iterations if they would have fewer than twice as many candidates as elites on average."""
        return split(total, self.params.iterations, minimum=2 * self.params.elites)
