"""Planning for several worlds at once: the same candidates in every member of an ensemble.

N candidates, H control steps, M members, G guardrails.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.composition.problem import ImaginedProblem, answered
from agent.composition.risk import MEAN, Risk
from envs.errors import TelosError
from planners.problem import Evaluation
from worldmodels.ensemble import Ensemble


@dataclass(frozen=True)
class RobustProblem(ImaginedProblem):
    """Over an `Ensemble`: what a candidate costs is the risk of its whole trajectories' costs, what it dares the worst.

    Every member imagines the same candidates from the same state: the simulator draws no random numbers, so members
    and candidates are compared under common ones. A candidate is valid where it is in every member. The nominal
    member answers `imagine`. Where members are physical, `agent.composition.robust_branching` offers more.
    """

    risk: Risk = MEAN

    def evaluate(self, actions: Tensor) -> Evaluation:
        """The members' costs under the risk's weights, and the worst margin over time and members.

        The weights are chosen by the total cost of each member's trajectory and hold for all its steps. So the total is
        the risk measure exactly, and each step's cost is the one expected in the worlds that the risk measure
        looks at (its dual, the worst reweighting of members with density up to 1/alpha).
        """
        assert isinstance(self.model, Ensemble)
        states = self.objective.critic is not None
        each = [self.judge(answered(future, actions)) for future in self.model.futures(self.start, actions, states)]
        steps = np.stack([one.step_cost.numpy() for one in each])  # (M,N,H)
        terminal = np.stack([one.terminal_cost.numpy() for one in each])  # (M,N)
        weights = self.risk.weights(steps.sum(2) + terminal)
        return Evaluation(
            torch.from_numpy((weights[:, :, None] * steps).sum(0)),
            torch.from_numpy((weights * terminal).sum(0)),
            torch.stack([one.margin for one in each]).amin(0),  # NaN where it is in one: that breaks a guardrail
            torch.stack([one.valid for one in each]).all(0),
            self.limits,
        )

    def __post_init__(self) -> None:
        """
        Raises:
            TelosError: a model of one member alone, or what `ImaginedProblem` refuses.
        """
        if not isinstance(self.model, Ensemble):
            raise TelosError("RobustProblem.model", type(self.model).__name__, "an Ensemble")
        super().__post_init__()
