"""What is known of one decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.agent import Decision
from agent.rollouts.row import Steps
from planners.problem import Population


@dataclass(frozen=True)
class Explanation:
    """One decision, as it was made."""

    episode: int
    step: int
    decision: Decision
    replayed: Steps  # the re-run's steps, the decision's own included
    same: bool  # whether its actions equal the recorded ones bit for bit
    exact: bool  # whether they must: not where the clock decides
    ranked: tuple[int, ...]  # candidates of the population, best first by the selection order
    violation: np.ndarray  # (N,), worst scaled violation of each candidate
    named: dict[int, str]  # candidate -> what it is: fallback, previous, a proposal, published

    @property
    def population(self) -> Population:
        population = self.decision.plan.population
        assert population is not None
        return population
