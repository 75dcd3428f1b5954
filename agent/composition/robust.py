"""Robust planning: every member of a plural world model evaluates the same candidates.

N candidates, H control steps, M members, G guardrails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from agent.composition.problem import ImaginedProblem, answered
from agent.composition.risk import MEAN, Risk
from envs.errors import TelosError
from envs.trajectory import Trajectory, home
from planners.problem import Evaluation
from worldmodels.model import Differentiable, Plural, WorldModel


@dataclass(frozen=True)
class RobustProblem(ImaginedProblem):
    """A problem over a `Plural` model: a risk measure of the members' trajectory costs, and the worst of their margins.

    Every member imagines the same candidates from the same belief. Members and candidates are compared under common
    random numbers: what a member draws follows from `seed`, which is the decision's. A candidate is valid if it is
    valid in every member. `imagine` uses the nominal member.
    """

    risk: Risk = MEAN

    def __post_init__(self) -> None:
        """
        Raises:
            TelosError: the model has one future alone, or `ImaginedProblem` refuses the arguments.
        """
        if not isinstance(self.model, Plural):
            given = type(self.model).__name__
            raise TelosError("RobustProblem.model", given, "a model of several futures, as an Ensemble")
        super().__post_init__()

    @cached_property
    def members(self) -> Sequence[WorldModel]:
        """The members under this decision's seed, the nominal one first."""
        assert isinstance(self.model, Plural)
        return self.model.members(self.seed)

    def evaluate(self, actions: Tensor) -> Evaluation:
        """The members' costs under the risk's weights, and the worst margin over time and members."""
        assert isinstance(self.model, Plural)
        states = self.objective.reads_states or self.objective.reads_doubt
        futures = self.model.futures(self.start, actions, self.seed, states)
        if self.objective.reads_doubt:
            futures = self._doubted([answered(future, actions) for future in futures])
        return self._combined([self.judged(answered(future, actions)) for future in futures])

    def _doubted(self, futures: Sequence[Trajectory]) -> Sequence[Trajectory]:
        """The futures with the members' disagreement as their doubt, where it is larger than their own."""
        assert isinstance(self.model, Plural)
        doubt = home(self.model.disagreement(futures))
        return [replace(future, doubt=torch.maximum(future.doubt, doubt)) for future in futures]

    def _combined(self, each: Sequence[Evaluation]) -> Evaluation:
        """One evaluation of the M members' evaluations.

        A member's weight depends on the total cost of its trajectory and is the same for all steps. So the total cost
        equals the risk measure exactly. Each step's cost is the expected cost under the risk measure's dual, which is
        the worst reweighting of members with density up to 1/alpha. For the same reason, the weights count as constant
        in a gradient (Danskin's theorem).
        """
        steps = torch.stack([one.step_cost for one in each])  # (M,N,H)
        terminal = torch.stack([one.terminal_cost for one in each])  # (M,N)
        totals = (steps.sum(2) + terminal).detach()
        weights = torch.from_numpy(self.risk.weights(totals.numpy()))
        return Evaluation(
            (weights[:, :, None] * steps).sum(0),
            (weights * terminal).sum(0),
            torch.stack([one.margin for one in each]).amin(0),  # NaN where one member has NaN: a violation
            torch.stack([one.valid for one in each]).all(0),
            self.limits,
        )


class RobustDifferentiableProblem(RobustProblem):
    """It implements `planners.capabilities.Differentiable`, where all members are `Differentiable`."""

    def differentiate(self, actions: Tensor) -> Evaluation:
        """Costs and margins of candidates (N,H,A), with gradients."""
        each = []
        for member in self.members:
            assert isinstance(member, Differentiable)
            each.append(answered(member.differentiate(self.start, actions), actions))
        futures = self._doubted(each) if self.objective.reads_doubt else each
        return self._combined([self.judged(future) for future in futures])
