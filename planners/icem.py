"""iCEM: the improved, sample-efficient cross-entropy method for real-time planning.

Pinneri, Sawant, Blaes, Achterhold, Stückler, Rolínek & Martius, "Sample-efficient Cross-Entropy Method for
Real-time Planning", CoRL 2020, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from planners.sampling.base import SamplingParams, SamplingPlanner
from planners.sampling.distribution import Distribution, around, elites, moments, pool, split
from planners.search.noise import Stock, coloured
from planners.search.select import Scores


@dataclass(frozen=True)
class IcemParams(SamplingParams):
    """Parameters of iCEM; the paper's values where it gives one value for all tasks."""

    elites: int = 10  # K: the number of best candidates that the distribution is fitted to
    beta: float = 2.0  # noise colour, power 1/f^beta along time; 0 is white
    std: float = 0.5  # of the noise at the start of every round; actions are in [-1,1]
    momentum: float = 0.1  # alpha: weight of the old mean and standard deviation in an update
    decay: float = 1.25  # gamma: each iteration samples this many times fewer candidates than the one before
    keep: float = 0.3  # share of the elites that are candidates again in the next iteration and in the next plan

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("elites", self.elites >= 1, ">= 1")
        self.require("beta", 0 <= self.beta <= 20, "0 <= beta <= 20")
        self.require("std", 0 < self.std < np.inf, "0 < std < inf")
        self.require("momentum", 0 <= self.momentum < 1, "0 <= momentum < 1")
        self.require("decay", 1 <= self.decay < np.inf, "1 <= decay < inf")
        self.require("keep", 0 <= self.keep <= 1, "0 <= keep <= 1")


class Icem(SamplingPlanner[IcemParams]):
    """CEM with coloured noise, kept and shifted elites, and a decaying population; publishes the best candidate."""

    Params = IcemParams
    mean_is = "sampled"
    lqr_tolerance = 0.05

    def begin(self, distribution: Distribution) -> Distribution:
        """Keep the mean, reset the standard deviation (algorithm 1, line 3)."""
        mean = distribution.mean
        return Distribution(mean, np.full(mean.shape, self.params.std), distribution.elites, distribution.scores)

    def noise(self, rng: np.random.Generator, count: int, knots: int, size: int) -> np.ndarray:
        """Noise coloured along time."""
        return coloured(rng, self.params.beta, count, knots, size)

    def sample(self, distribution: Distribution, stock: Stock, count: int) -> np.ndarray:
        """Candidates mean + std * noise; elites of the last plan replace some of the samples."""
        kept = distribution.elites[:count] if distribution.scores is None else distribution.elites[:0]
        knots = around(distribution, stock.take(count - len(kept)))
        return np.concatenate([kept, knots]) if len(kept) else knots

    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """Fit to the elites with momentum (lines 11 and 12), and keep the best elites."""
        p = self.params
        chosen, values = elites(*pool(distribution, knots, scores), p.elites)
        if len(values) == 0:
            return distribution
        mean, std = moments(chosen)
        kept = slice(ceil(p.keep * len(values)))
        return Distribution(
            mean=p.momentum * distribution.mean + (1 - p.momentum) * mean,
            std=p.momentum * distribution.std + (1 - p.momentum) * std,
            elites=chosen[kept],
            scores=Scores(values.violation[kept], values.cost[kept]),
        )

    def split(self, total: int) -> tuple[int, ...]:
        """The population decays (line 4), and is at least twice the number of elites.

        That minimum holds for the average size here; in the paper it holds for every iteration.
        """
        return split(total, self.params.iterations, self.params.decay, 2 * self.params.elites)
