"""MPPI: model predictive path integral control.

Williams, Wagener, Goldfain, Drews, Rehg, Boots & Theodorou, "Information Theoretic MPC for Model-Based
Reinforcement Learning", ICRA 2017, algorithm 2. Two things differ. The importance weights of line 12 (the control cost
of a perturbation against the mean) are left out. The candidates include references, which were not drawn from the
distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planners.sampling.base import SamplingParams, SamplingPlanner
from planners.sampling.distribution import Distribution, softmin, weighted_mean
from planners.search.noise import coloured
from planners.search.select import Scores


@dataclass(frozen=True)
class MppiParams(SamplingParams):
    """Parameters of MPPI."""

    temperature: float = 0.1  # lambda, in units of (median - least) of the weighted costs: tasks differ in cost scale
    std: float = 0.3  # of the noise, constant; actions are in [-1,1]
    beta: float = 1.0  # noise colour, power 1/f^beta along time; 0 is the paper's white noise

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("temperature", 0 < self.temperature < np.inf, "0 < temperature < inf")
        self.require("std", 0 < self.std < np.inf, "0 < std < inf")
        self.require("beta", 0 <= self.beta <= 20, "0 <= beta <= 20")


class Mppi(SamplingPlanner[MppiParams]):
    """Averages all candidates with weights exp(-cost / temperature), and publishes the mean if it is feasible.

    Also known as information-theoretic MPC, or path integral control.
    """

    Params = MppiParams
    mean_is = "published"
    lqr_tolerance = 0.04

    def begin(self, distribution: Distribution) -> Distribution:
        """Keep the mean; the standard deviation is constant."""
        return replace(distribution, std=np.full_like(distribution.mean, self.params.std))

    def noise(self, rng: np.random.Generator, count: int, knots: int, size: int) -> np.ndarray:
        """Noise coloured along time."""
        return coloured(rng, self.params.beta, count, knots, size)

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """The weighted mean of the candidates (algorithm 2, lines 14 to 18)."""
        weight = softmin(scores, self.params.temperature)
        return distribution if weight is None else replace(distribution, mean=weighted_mean(weight, knots))
