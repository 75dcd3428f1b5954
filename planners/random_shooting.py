"""Random shooting: uniform candidates, the best goes out. The row every other planner has to beat.

Nagabandi, Kahn, Fearing & Levine, "Neural Network Dynamics for Model-Based Deep Reinforcement Learning with
Model-Free Fine-Tuning", ICRA 2018, section IV-C.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planners.sampling.base import SamplingParams, SamplingPlanner
from planners.sampling.distribution import Distribution
from planners.search.noise import Stock
from planners.search.select import Scores


@dataclass(frozen=True)
class RandomShootingParams(SamplingParams):
    """Parameters of random shooting: one iteration, since nothing is learnt from it."""

    iterations: int = 1


class RandomShooting(SamplingPlanner[RandomShootingParams]):
    """Knots drawn uniformly from [-1,1], at every plan anew; proposals and the previous plan compete."""

    Params = RandomShootingParams
    mean_is = "ignored"
    lqr_tolerance = 1.0

    def begin(self, distribution: Distribution) -> Distribution:
        """Nothing to prepare."""
        return distribution

    def noise(self, rng: np.random.Generator, count: int, knots: int, size: int) -> np.ndarray:
        """Uniform."""
        return rng.uniform(-1.0, 1.0, (count, knots, size))

    def sample(self, distribution: Distribution, stock: Stock, count: int) -> np.ndarray:
        """Noise alone."""
        return stock.take(count)

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """Nothing is learnt."""
        return distribution
