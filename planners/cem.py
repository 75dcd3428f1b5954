"""CEM: the cross-entropy method.

Rubinstein, "The Cross-Entropy Method for Combinatorial and Continuous Optimization", 1999; for planning as in
PlaNet (Hafner et al. 2019, algorithm 2), except that the mean goes on, shifted, from plan to plan.
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
    elites: int = 10  # K: the best candidates, which the distribution is fitted to
    std: float = 0.5  # of the noise at the start of every plan, actions being in [-1,1]
    least_std: float = 0.01  # floor: an action all elites agree upon is still searched a little

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("elites", self.elites >= 1, ">= 1")
        self.require("std", 0 < self.std < np.inf, "0 < std < inf")
        self.require("least_std", 0 <= self.least_std <= self.std, f"0 <= least_std <= std = {self.std}")


class Cem(SamplingPlanner[CemParams]):
    """A diagonal Gaussian fitted to the elites; its mean is published where it is feasible."""

    Params = CemParams
    mean_is = "published"
    lqr_tolerance = 0.03

    def begin(self, distribution: Distribution) -> Distribution:
        """The mean goes on, the standard deviation starts again."""
        return replace(distribution, std=np.full_like(distribution.mean, self.params.std))

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """Mean and standard deviation of the elites (algorithm 2, lines 8 and 9)."""
        chosen, values = elites(knots, scores, self.params.elites)
        if len(values) == 0:
            return distribution
        mean, std = moments(chosen)
        return replace(distribution, mean=mean, std=np.maximum(std, self.params.least_std))

    def split(self, total: int) -> tuple[int, ...]:
        """At least twice as many candidates as elites, or fewer iterations."""
        return split(total, self.params.iterations, minimum=2 * self.params.elites)
