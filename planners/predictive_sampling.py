"""Predictive sampling: perturb the best plan known, keep the best of all.

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
    """Parameters of predictive sampling. The paper's is one iteration over a cubic spline of a few knots."""

    iterations: int = 1
    knots: int | None = 10  # P; a horizon shorter than this gets one per step
    interpolation: Interpolation = "cubic"
    std: float = 0.3  # of the perturbation of a knot, actions being in [-1,1]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("std", 0 < self.std < np.inf, "0 < std < inf")


class PredictiveSampling(SamplingPlanner[PredictiveSamplingParams]):
    """Gaussian noise of fixed size around the best knots; the best candidate is published."""

    Params = PredictiveSamplingParams
    mean_is = "ignored"  # the mean is a candidate already: the previous plan, or a sample
    lqr_tolerance = 0.12

    def begin(self, distribution: Distribution) -> Distribution:
        """The noise keeps its size; the last plan's best is no judge of this problem."""
        std = np.full_like(distribution.mean, self.params.std)
        kept = distribution.elites[:0] if distribution.scores is None else distribution.elites
        return replace(distribution, std=std, elites=kept)

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """The best so far is the centre of the next iteration, and of the next plan."""
        chosen, values = elites(*pool(distribution, knots, scores), 1)
        if len(values) == 0:
            return distribution
        return replace(distribution, mean=chosen[0], elites=chosen, scores=values)
