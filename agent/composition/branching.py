"""The capabilities of a problem beyond the evaluation of candidates, one class for each.

`agent.composition.compose` joins those that the world model allows.
N candidates or nodes, K control steps of an edge, H of the horizon, A action size, S state size, D coordinates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from agent.composition.edges import follow
from agent.composition.problem import ImaginedProblem, answered
from agent.cost.objective import Objective, TaskCost
from envs.task import Task
from envs.trajectory import home
from planners.capabilities import Space, Stepped
from planners.problem import Evaluation
from worldmodels.model import Branching, Comparable, Coordinated, Differentiable, Mechanical


class DifferentiableProblem(ImaginedProblem):
    """It implements `planners.capabilities.Differentiable`, over a `Differentiable` model."""

    def differentiate(self, actions: Tensor) -> Evaluation:
        """Costs and margins of candidates (N,H,A), with gradients."""
        assert isinstance(self.model, Differentiable)
        return self.judged(answered(self.model.differentiate(self.start, actions), actions))


class SteppableProblem(ImaginedProblem):
    """It implements `planners.capabilities.Steppable`, over a `Branching` model; its nodes are the model's states."""

    def root(self) -> Tensor:
        """The believed state, (1,S)."""
        assert isinstance(self.model, Branching)
        return home(self.model.root(self.start))

    def step(self, nodes: Tensor, actions: Tensor) -> Stepped:
        """Follow edges of K control steps, actions (N,K,A), from nodes (N,S).

        Raises:
            TelosError: a cost term depends on earlier steps or is discounted, or signals lag behind the state.
        """
        trajectory, judged = follow(self, self.model, nodes, actions)
        return Stepped(
            home(trajectory.states[:, -1]),
            torch.where(trajectory.valid, judged.step_cost.sum(1), torch.inf),
            judged.margin,
            self.objective.ends(trajectory, self.start.params),
            trajectory.valid,
            self.limits,
        )


class MeasurableProblem(SteppableProblem):
    """It implements `planners.capabilities.Measurable`, over a model that is `Branching` and `Comparable`."""

    def embedding(self, nodes: Tensor, seconds: float) -> Tensor:
        """(N,S) -> (N,D): points of which a velocity counts as the distance that it covers in `seconds`."""
        assert isinstance(self.model, Comparable)
        return home(self.model.embedding(nodes, seconds))


class DiscretisableProblem(SteppableProblem):
    """It implements `planners.capabilities.Discretisable` and `Guided`, over a `Branching` and `Coordinated` model."""

    def space(self) -> Space:
        """The coordinates: positions and velocities. Raises TelosError for a model with rotations in space."""
        assert isinstance(self.model, Coordinated)
        chart = self.model.chart()
        return Space(chart.names, chart.low, chart.high, chart.periodic, chart.units)

    def identity(self) -> str:
        """SHA-256 of everything an edge depends on: model, reset parameters, objective, guardrails."""
        assert isinstance(self.model, Coordinated)
        model = self.model.identity(self.start)
        rules = self.judge.guardrails.digest
        return hashlib.sha256(repr((model, _terms(self.objective), rules)).encode()).hexdigest()

    def coordinates(self, nodes: Tensor) -> Tensor:
        """(N,S) -> (N,D)"""
        assert isinstance(self.model, Coordinated)
        return self.model.coordinates(nodes)

    def place(self, coordinates: Tensor) -> Tensor:
        """(N,D) -> (N,S)"""
        assert isinstance(self.model, Coordinated)
        return self.model.place(self.start, coordinates)

    def heuristic(self, nodes: Tensor) -> Tensor:
        """Admissible heuristic: the task's lower bound on the cost-to-go, times the reward's weight, (N,S) -> (N,).

        It is a bound on costs that are counted in excess of the cheapest possible step (`most_reward` at least the
        weight). It is 0 where the task declares no `envs.task.RewardBound`, where the model is not `Mechanical`, and
        where the objective has other terms than the reward, because only the reward has a known maximum.
        """
        if self._bound is None:
            return torch.zeros(len(nodes), dtype=torch.float64)
        return self._bound(nodes)

    @cached_property
    def _bound(self) -> Callable[[Tensor], Tensor] | None:
        sole = _sole_reward(self.objective)
        if sole is None or sole[1].reward_bound is None or not isinstance(self.model, Mechanical):
            return None
        weight, missed = sole[0], sole[1].reward_bound(self.model.mechanics(self.start), self.dt)
        return lambda nodes: weight * missed(self.coordinates(nodes))


def _terms(objective: Objective) -> tuple[str, ...]:
    """The cost terms as text; a task appears as its id, because its `repr` contains memory addresses of functions."""
    return tuple(
        f"{weight!r} {f'TaskCost({term.task.id!r})' if isinstance(term, TaskCost) else repr(term)}"
        for weight, term in objective.terms
        if weight != 0
    )


def _sole_reward(objective: Objective) -> tuple[float, Task] | None:
    """Weight and task where the task's reward, with a positive weight, is the only cost; else None."""
    counted = [(weight, term) for weight, term in objective.terms if weight != 0]
    if len(counted) != 1 or objective.critic is not None:
        return None
    weight, term = counted[0]
    return (weight, term.task) if weight > 0 and isinstance(term, TaskCost) else None
