"""Robust planning: every member of an ensemble evaluates the same candidates.

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
    """A problem over an `Ensemble`: a risk measure of the members' trajectory costs, and the worst of their margins.

    Every member imagines the same candidates from the same state. The simulator draws no random numbers, so members and
    candidates are compared under common random numbers. A candidate is valid if it is valid in every member. `imagine`
    uses the nominal member. For physical members, `agent.composition.robust_branching` has more capabilities.
    """

    risk: Risk = MEAN

    def evaluate(self, actions: Tensor) -> Evaluation:
        """The members' costs under the risk's weights, and the worst margin over time and members.

        A member's weight depends on the total cost of its trajectory and is the same for all steps. So the total cost
        equals the risk measure exactly. Each step's cost is the expected cost under the risk measure's dual, which is
        the worst reweighting of members with density up to 1/alpha.
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
            torch.stack([one.margin for one in each]).amin(0),  # NaN where one member has NaN: a violation
            torch.stack([one.valid for one in each]).all(0),
            self.limits,
        )

    def __post_init__(self) -> None:
        """
        Raises:
            TelosError: the model is no `Ensemble`, or `ImaginedProblem` refuses the arguments.
        """
        if not isinstance(self.model, Ensemble):
            raise TelosError("RobustProblem.model", type(self.model).__name__, "an Ensemble")
        super().__post_init__()
