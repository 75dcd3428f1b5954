"""Predictive sampling: adds Gaussian noise to the best plan so far, and keeps the best candidate (random local search).

Howell, Gileadi, Tunyasuvunakool, Zakka, Erez & Tassa, "Predictive Sampling: Real-time Behaviour Synthesis
with MuJoCo", 2022 (MJPC), algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planners.sampling.base import SamplingParams, SamplingPlanner
from planners.sampling.distribution import Distribution, elites, pool
from planners.search.knots import Interpolation
from planners.search.select import Scores


@dataclass(frozen=True)
class PredictiveSamplingParams(SamplingParams):
    """Parameters of predictive sampling. As in the paper: one iteration over a cubic spline of a few knots."""

    iterations: int = 1
    knots: int | None = 10  # P; a shorter horizon has one knot per step
    interpolation: Interpolation = "cubic"
    std: float = 0.3  # of the noise on a knot; actions are in [-1,1]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("std", 0 < self.std < np.inf, "0 < std < inf")


class PredictiveSampling(SamplingPlanner[PredictiveSamplingParams]):
    """Samples with constant noise around the best knots, and publishes the best candidate."""

    Params = PredictiveSamplingParams
    mean_is = "ignored"  # the mean is always a candidate already: the previous plan, or a sample
    lqr_tolerance = 0.12

    def begin(self, distribution: Distribution) -> Distribution:
        """The same noise in every round. The elite of an earlier plan is dropped, because its score is outdated."""
        std = np.full_like(distribution.mean, self.params.std)
        kept = distribution.elites[:0] if distribution.scores is None else distribution.elites
        return replace(distribution, std=std, elites=kept)

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """The best candidate so far becomes the mean of the next iteration and of the next plan."""
        chosen, values = elites(*pool(distribution, knots, scores), 1)
        if len(values) == 0:
            return distribution
        return replace(distribution, mean=chosen[0], elites=chosen, scores=values)
