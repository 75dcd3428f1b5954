"""CEM: the cross-entropy method.

Rubinstein, "The Cross-Entropy Method for Combinatorial and Continuous Optimization", 1999. Used for planning as in
PlaNet (Hafner et al. 2019, algorithm 2), except that each plan starts from the mean of the last one, shifted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planners.sampling.base import SamplingParams, SamplingPlanner
from planners.sampling.distribution import Distribution, elites, moments, split
from planners.search.select import Scores


@dataclass(frozen=True)
class CemParams(SamplingParams):
    """Parameters of CEM."""

    iterations: int = 4
    elites: int = 10  # K: the number of best candidates that the distribution is fitted to
    std: float = 0.5  # of the noise at the start of every round; actions are in [-1,1]
    least_std: float = 0.01  # floor of the standard deviation, so that the search does not collapse

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("elites", self.elites >= 1, ">= 1")
        self.require("std", 0 < self.std < np.inf, "0 < std < inf")
        self.require("least_std", 0 <= self.least_std <= self.std, f"0 <= least_std <= std = {self.std}")


class Cem(SamplingPlanner[CemParams]):
    """Fits a diagonal Gaussian to the elites, and publishes its mean if it is feasible (also known as CEM-MPC)."""

    Params = CemParams
    mean_is = "published"
    lqr_tolerance = 0.03

    def begin(self, distribution: Distribution) -> Distribution:
        """Keep the mean, reset the standard deviation."""
        return replace(distribution, std=np.full_like(distribution.mean, self.params.std))

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """Mean and standard deviation of the elites (algorithm 2, lines 8 and 9)."""
        chosen, values = elites(knots, scores, self.params.elites)
        if len(values) == 0:
            return distribution
        mean, std = moments(chosen)
        return replace(distribution, mean=mean, std=np.maximum(std, self.params.least_std))

    def split(self, total: int) -> tuple[int, ...]:
        """Fewer iterations if they would have fewer than twice as many candidates as elites on average."""
        return split(total, self.params.iterations, minimum=2 * self.params.elites)
