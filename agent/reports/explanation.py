"""The data that explains one decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.agent import Decision
from agent.rollouts.row import Steps
from planners.problem import Population


@dataclass(frozen=True)
class Explanation:
    """One decision with all its candidates."""

    episode: int
    step: int
    decision: Decision
    replayed: Steps  # the re-run's steps up to and including the decision's
    same: bool  # whether the re-run's actions equal the recorded ones bit for bit
    exact: bool  # whether they must be equal; not in real time or with a planning budget in seconds
    ranked: tuple[int, ...]  # candidates of the population in the selection order, best first
    violation: np.ndarray  # (N,), worst scaled violation of each candidate
    named: dict[int, str]  # candidate -> its name: fallback, previous, another proposal, or published

    @property
    def population(self) -> Population:
        population = self.decision.plan.population
        assert population is not None
        return population

    @property
    def executed(self) -> np.ndarray:
        """The action (A,) that was executed."""
        return self.replayed.action[-1]

    @property
    def intervened(self) -> bool:
        """Whether the gate refused the plan's first action."""
        return bool(self.replayed.intervened[-1])
