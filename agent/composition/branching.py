"""Problems with capabilities beyond the evaluation of candidates, where the world model allows them.

The composition is that of `agent.composition.problem`: one model, one objective, one set of guardrails.
N candidates or nodes, K control steps of an edge, H of the horizon, A action size, S state size, D tangent size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from agent.composition import expansion
from agent.composition.edges import follow
from agent.composition.problem import ImaginedProblem, answered
from agent.cost.objective import Objective, TaskCost
from envs.task import Task
from planners.capabilities import Linearisation, Space, Stepped
from planners.problem import Evaluation
from worldmodels.model import Branching, Differentiable, Physical


class DifferentiableProblem(ImaginedProblem):
    """A problem over a differentiable model; it implements `planners.capabilities.Differentiable`."""

    def differentiate(self, actions: Tensor) -> Evaluation:
        """Costs and margins of candidates (N,H,A), with gradients."""
        assert isinstance(self.model, Differentiable)
        return self.judge(answered(self.model.differentiate(self.start, actions), actions))


class BranchingProblem(ImaginedProblem):
    """A problem over a model that can continue from any of its states; its nodes are states.

    It implements `planners.capabilities.Steppable`.
    """

    def root(self) -> Tensor:
        """The believed state, (1,S)."""
        return torch.from_numpy(self.start.state.copy())[None]

    def step(self, nodes: Tensor, actions: Tensor) -> Stepped:
        """Follow edges of K control steps, actions (N,K,A), from nodes (N,S).

        Raises:
            TelosError: a cost term depends on earlier steps.
        """
        assert isinstance(self.model, Branching)
        trajectory, judged = follow(self, self.model, nodes, actions)
        return Stepped(
            trajectory.states[:, -1],
            torch.where(trajectory.valid, judged.step_cost.sum(1), torch.inf),
            judged.margin,
            self.objective.ends(trajectory, self.start.params),
            trajectory.valid,
            self.limits,
        )


class PhysicalProblem(BranchingProblem):
    """A problem over a model of positions and velocities.

    Besides `Steppable`, it implements `planners.capabilities.Linearisable`, `Discretisable`, `Measurable` and `Guided`.
    """

    def expandable(self) -> bool:
        """Whether no cost term depends on earlier steps, and the model can continue from any state."""
        assert isinstance(self.model, Physical)
        return self.model.resumable() and not self.objective.looks_back

    def expansion_steps(self) -> int:
        """Control steps that one `linearise` simulates."""
        return expansion.steps(self)

    def linearise(self, actions: Tensor) -> Linearisation:
        """Expand dynamics, cost and margins around one action sequence (H,A). Raises TelosError as `step` does."""
        return expansion.linearise(self, actions)

    def track(self, nominal: Tensor, offsets: Tensor, gains: Tensor) -> Tensor:
        """The actions (N,H,A) that track the trajectory of `nominal` (H,A) with feedback gains (H,A,D)."""
        assert isinstance(self.model, Physical)
        return expansion.track((self.model,), self.start, nominal, offsets, gains)

    def space(self) -> Space:
        """The coordinates: positions and velocities. Raises TelosError for a model with rotations in space."""
        assert isinstance(self.model, Physical)
        chart = self.model.chart()
        return Space(chart.names, chart.low, chart.high, chart.periodic, chart.units)

    def identity(self) -> str:
        """SHA-256 of everything an edge depends on: model, reset parameters, objective, guardrails."""
        assert isinstance(self.model, Physical)
        model = self.model.identity(self.start)
        return hashlib.sha256(repr((model, _terms(self.objective), self.guardrails.digest)).encode()).hexdigest()

    def coordinates(self, nodes: Tensor) -> Tensor:
        """(N,S) -> (N,D)"""
        assert isinstance(self.model, Physical)
        return self.model.coordinates(nodes)

    def place(self, coordinates: Tensor) -> Tensor:
        """(N,D) -> (N,S)"""
        assert isinstance(self.model, Physical)
        return self.model.place(self.start, coordinates)

    def embedding(self, nodes: Tensor, seconds: float) -> Tensor:
        """(N,S) -> (N,D'): points in m and rad; a velocity counts as the distance it covers in `seconds`."""
        assert isinstance(self.model, Physical)
        return self.model.embedding(nodes, seconds)

    def heuristic(self, nodes: Tensor) -> Tensor:
        """Admissible heuristic: the task's lower bound on the cost-to-go, times the reward's weight, (N,S) -> (N,).

        It is a bound on costs that are counted in excess of the cheapest possible step (`most_reward` at least the
        weight). It is 0 where the task declares no `envs.task.RewardBound`, and where the objective has other terms
        than the reward, because only the reward has a known maximum.
        """
        if self._bound is None:
            return torch.zeros(len(nodes), dtype=torch.float64)
        return self._bound(nodes)

    @cached_property
    def _bound(self) -> Callable[[Tensor], Tensor] | None:
        sole = _sole_reward(self.objective)
        if sole is None or sole[1].reward_bound is None:
            return None
        assert isinstance(self.model, Physical)
        weight, read = sole[0], self.model.coordinates
        missed = sole[1].reward_bound(self.model.mechanics(self.start), self.dt)
        return lambda nodes: weight * missed(read(nodes))


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
