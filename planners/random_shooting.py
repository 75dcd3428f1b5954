"""Random shooting (random search): publishes the best of uniformly drawn candidates; the baseline for all planners.

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
    """Parameters of random shooting: one iteration, because the distribution never changes."""

    iterations: int = 1


class RandomShooting(SamplingPlanner[RandomShootingParams]):
    """Draws knots uniformly from [-1,1] in every plan, and compares them with the proposals and the previous plan."""

    Params = RandomShootingParams
    mean_is = "ignored"
    lqr_tolerance = 1.0

    def begin(self, distribution: Distribution) -> Distribution:
        """The distribution is not used."""
        return distribution

    def noise(self, rng: np.random.Generator, count: int, knots: int, size: int) -> np.ndarray:
        """Uniform noise in [-1,1]."""
        return rng.uniform(-1.0, 1.0, (count, knots, size))

    def sample(self, distribution: Distribution, stock: Stock, count: int) -> np.ndarray:
        """The noise itself."""
        return stock.take(count)

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """The distribution is not used."""
        return distribution
