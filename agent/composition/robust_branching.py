"""Robust problems for tree search and iLQR: all members advance together under the same actions.

N edges, K control steps of each, H of the horizon, M members, S state size, A action size, D tangent size of a member,
G guardrails.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from agent.composition.autograd import AutogradProblem
from agent.composition.edges import follow
from agent.composition.expansion import LinearisableProblem
from agent.composition.robust import RobustProblem
from agent.composition.tracking import tracked
from envs.trajectory import home
from planners.capabilities import Linearisation, Space, Stepped
from worldmodels.model import Branching, Comparable, Coordinated, Differentiable


class Worlds(NamedTuple):
    """The contents of N nodes."""

    states: Tensor  # (N,M,S)
    cost: Tensor  # (N,M), since the root
    ended: Tensor  # (N,M), 1 where the episode has ended there


class RobustSteppableProblem(RobustProblem):
    """It implements `planners.capabilities.Steppable`, where all members are `Branching`.

    A node holds the states of all members after the same actions, and each member's cost since the root. The cost of an
    edge is the increase of the risk measure over these costs. So the edges of a path add up to the risk measure of
    whole trajectories, whichever members are worst in the end. Step costs that are shifted by their minimum stay
    non-negative, because the risk measure is monotone and translation-equivariant.

    The cost so far does not determine the best continuation, because that depends on which member is worst by then. So
    a search that keeps the cheapest path to each place (`sst`) is a heuristic here, and an edge of minimal cost need
    not end at a goal in every member. A cost on doubt reads each member's own.
    """

    def root(self) -> Tensor:
        """All members at the believed state, (1, M (S+2))."""
        states = []
        for member in self.members:
            assert isinstance(member, Branching)
            states.append(home(member.root(self.start)))
        return torch.cat([*states, states[0].new_zeros(1, 2 * len(states))], 1)

    def step(self, nodes: Tensor, actions: Tensor) -> Stepped:
        """Follow edges of K control steps, actions (N,K,A), from nodes (N, M (S+2)).

        Raises:
            TelosError: a cost term depends on earlier steps or is discounted, or signals lag behind the state.
        """
        before = self._worlds(nodes)
        states, costs, margins, valid, ended = [], [], [], [], []
        for index, member in enumerate(self.members):
            trajectory, judged = follow(self, member, before.states[:, index].contiguous(), actions)
            states.append(home(trajectory.states[:, -1]))
            costs.append(torch.where(before.ended[:, index] > 0, 0.0, judged.step_cost.sum(1)))
            margins.append(judged.margin)
            valid.append(trajectory.valid)
            ended.append(self.objective.ends(trajectory, self.start.params) | (before.ended[:, index] > 0))
        after = Worlds(torch.stack(states, 1), before.cost + torch.stack(costs, 1), torch.stack(ended, 1).double())
        sound = torch.stack(valid).all(0)
        return Stepped(
            torch.cat([after.states.flatten(1), after.cost, after.ended], 1),
            torch.where(sound, self._risk(after.cost) - self._risk(before.cost), torch.inf),
            torch.stack(margins).amin(0),
            after.ended.all(1),
            sound,
            self.limits,
        )

    def _worlds(self, nodes: Tensor) -> Worlds:
        number = len(self.members)
        states, cost, ended = nodes.split([nodes.shape[1] - 2 * number, number, number], 1)
        return Worlds(states.unflatten(1, (number, -1)), cost, ended)

    def _risk(self, cost: Tensor) -> Tensor:
        """The risk measure (N,) of costs (N,M)."""
        totals = cost.detach().numpy().T
        return torch.from_numpy((self.risk.weights(totals) * totals).sum(0))


class RobustMeasurableProblem(RobustSteppableProblem):
    """It implements `planners.capabilities.Measurable`, where all members are `Branching` and `Comparable`."""

    def embedding(self, nodes: Tensor, seconds: float) -> Tensor:
        """(N, M (S+2)) -> (N, M D'): the distance of two nodes is the root mean square of the members' distances."""
        states, each = self._worlds(nodes).states, []
        for index, member in enumerate(self.members):
            assert isinstance(member, Comparable)
            each.append(home(member.embedding(states[:, index].contiguous(), seconds)))
        return torch.cat(each, 1) / math.sqrt(len(each))


class RobustChartedProblem(RobustSteppableProblem):
    """It implements `planners.capabilities.Charted`, where all members are `Branching` and `Coordinated`."""

    def space(self) -> Space:
        """The coordinates: positions and velocities. Raises TelosError for a model with rotations in space."""
        chart = self._nominal.chart()
        return Space(chart.names, chart.low, chart.high, chart.periodic, chart.units)

    def coordinates(self, nodes: Tensor) -> Tensor:
        """(N, M (S+2)) -> (N,D): the nominal member's coordinates, which do not identify a node."""
        return self._nominal.coordinates(self._worlds(nodes).states[:, 0].contiguous())

    @property
    def _nominal(self) -> Coordinated:
        nominal = self.members[0]
        assert isinstance(nominal, Coordinated)
        return nominal


class RobustLinearisableProblem(RobustSteppableProblem):
    """It implements `planners.capabilities.Linearisable`, where all members are `Branching` and `Displaceable`."""

    def expandable(self) -> bool:
        """Whether each member's own problem is."""
        return all(one.expandable() for one in self._alone())

    def expansion_steps(self) -> int:
        """Control steps that one `linearise` simulates; as in budgets, a step in all members counts once."""
        return self.horizon + self._alone()[0].expansion_steps()

    def linearise(self, actions: Tensor) -> Linearisation:
        """Expand all members around one action sequence (H,A), as one system of M parts with the same actions.

        Costs have the risk measure's weights at this sequence (its gradient, where no two members cost the same). Each
        margin is that of the member in which it is worst.
        """
        alone = self._alone()
        totals = [one.evaluate(actions[None]).cost.numpy() for one in alone]
        weights = self.risk.weights(np.stack(totals))[:, 0]
        parts = [one.linearise(actions) for one in alone]
        margins = torch.stack([part.margin for part in parts])  # (M,H,G)
        worst = torch.arange(len(parts))[:, None, None] == margins.nan_to_num(-torch.inf).argmin(0)
        weighed = [_weighed(part, weight) for part, weight in zip(parts, weights.tolist(), strict=True)]
        slopes = [_where(at, part) for at, part in zip(worst, parts, strict=True)]
        return Linearisation(
            state=_diagonal([part.state for part in parts]),
            action=torch.cat([part.action for part in parts], 1),
            cost_x=torch.cat([part.cost_x for part in weighed], 1),
            cost_u=torch.stack([part.cost_u for part in weighed]).sum(0),
            cost_xx=_diagonal([part.cost_xx for part in weighed]),
            cost_uu=torch.stack([part.cost_uu for part in weighed]).sum(0),
            cost_ux=torch.cat([part.cost_ux for part in weighed], 2),
            terminal_x=torch.cat([part.terminal_x for part in weighed]),
            terminal_xx=torch.block_diag(*[part.terminal_xx for part in weighed]),
            margin=margins.amin(0),
            margin_x=torch.cat([by_state for by_state, _ in slopes], 2),
            margin_u=torch.stack([by_action for _, by_action in slopes]).sum(0),
            limits=self.limits,
        )

    def track(self, nominal: Tensor, offsets: Tensor, gains: Tensor) -> Tensor:
        """The actions (N,H,A) that track all members' trajectories of `nominal` (H,A) with feedback gains (H,A,M D)."""
        with torch.no_grad():
            return tracked(self.members, self.start, nominal, offsets, gains)

    def _alone(self) -> list[LinearisableProblem] | list[AutogradProblem]:
        """One problem per member, over that member alone."""
        rest = (self.objective, self.judge, self.start, self.horizon, self.proposals, self.seed)
        if all(isinstance(member, Differentiable) for member in self.members):
            return [AutogradProblem(member, *rest) for member in self.members]
        return [LinearisableProblem(member, *rest) for member in self.members]


def _weighed(part: Linearisation, weight: float) -> Linearisation:
    """The expansion with its cost terms multiplied by `weight`."""
    names = ("cost_x", "cost_u", "cost_xx", "cost_uu", "cost_ux", "terminal_x", "terminal_xx")
    return replace(part, **{name: weight * getattr(part, name) for name in names})


def _where(at: Tensor, part: Linearisation) -> tuple[Tensor, Tensor]:
    """The slopes of margins by states and actions where `at` (H,G) bool is true, and 0 elsewhere."""
    return torch.where(at[..., None], part.margin_x, 0.0), torch.where(at[..., None], part.margin_u, 0.0)


def _diagonal(blocks: list[Tensor]) -> Tensor:
    """M blocks (H,D,D) -> block-diagonal matrices (H, M D, M D)."""
    return torch.stack([torch.block_diag(*rows) for rows in zip(*blocks, strict=True)])
