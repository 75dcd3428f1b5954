"""The cost module: task cost, intrinsic costs (`agent.cost.intrinsic`) and a critic, all functions of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from envs.errors import TelosError
from envs.requests import Request
from envs.task import Task, TaskParams
from envs.trajectory import Trajectory, home, zeros


class Cost(Protocol):
    """One term of the objective; it does not depend on which model made the trajectory.

    A term whose step costs depend on earlier steps sets `looks_back = True`. Planners that build futures step by step
    cannot use it. A term that reads the model's states, as a learned reward does, sets `reads_states = True`, and one
    that reads its doubt sets `reads_doubt = True`: neither is computed for nothing. A cost may come in any floating
    dtype and from any device; the objective sums costs as float64 on the CPU.
    """

    @property
    def requests(self) -> tuple[Request, ...]:
        """The signals that it reads."""
        ...

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """Cost of every step, (N,H)."""
        ...


class Critic(Protocol):
    """The terminal cost, for what lies beyond the horizon; a hook: without a critic, the terminal cost is 0."""

    @property
    def requests(self) -> tuple[Request, ...]:
        """The signals that it reads; it may also read the trajectory's model states."""
        ...

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,)"""
        ...


@runtime_checkable
class Aimable(Protocol):
    """A critic that can be made for a goal."""

    def towards(self, wanted: Tensor, weight: float) -> Critic:
        """The critic of a goal with this weight, at this state of the model, (1,D)."""
        ...


@runtime_checkable
class Ending(Protocol):
    """A cost term that says where an episode ends."""

    def ended(self, trajectory: Trajectory, params: TaskParams) -> Tensor | None:
        """Whether the episode has ended by the end of each step, (N,H) bool; None where it never does."""
        ...


@dataclass(frozen=True)
class TaskCost:
    """Minus the task's own reward. The task also determines where an episode ends; see `Objective.step_cost`."""

    task: Task

    @property
    def requests(self) -> tuple[Request, ...]:
        return self.task.requests

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        return -self.task.reward(trajectory, params)

    def ended(self, trajectory: Trajectory, params: TaskParams) -> Tensor | None:
        """Whether the episode has ended by the end of each step, (N,H) bool; None where it never does."""
        if self.task.termination is None:
            return None
        return self.task.termination(trajectory, params).cumsum(1) > 0


@dataclass(frozen=True)
class Objective:
    """Weighted sum of cost terms, and a critic. Only costs have weights and a discount: a guardrail has neither."""

    terms: tuple[tuple[float, Cost], ...]
    critic: Critic | None = None
    critic_weight: float = 1.0
    discount: float = 1.0  # per control step; the cost of step t counts discount^t, the critic's discount^H

    def __post_init__(self) -> None:
        """Raises TelosError for a discount outside (0,1], or a weight of the critic that is negative or not finite."""
        if not 0 < self.discount <= 1:
            raise TelosError("cost.discount", self.discount, "above 0, at most 1")
        if not 0 <= self.critic_weight < float("inf"):
            raise TelosError("cost.critic", self.critic_weight, "a finite weight >= 0")

    @property
    def requests(self) -> tuple[Request, ...]:
        sources = [term for _, term in self.terms] + ([] if self.critic is None else [self.critic])
        return tuple(request for source in sources for request in source.requests)

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,H), discounted; all steps after the episode's end cost 0, whatever the terms' weights.

        Raises:
            TelosError: a term returns another shape.
        """
        shape = trajectory.actions.shape[:2]
        total: Tensor | None = None
        for weight, term in self.terms:
            if weight == 0:
                continue  # the term stays, because the configurator may raise its weight later
            cost = home(term.step_cost(trajectory, params))
            if cost.shape != shape:  # broadcasting would sum wrong values
                raise TelosError(f"cost {type(term).__name__}", f"shape {tuple(cost.shape)}", f"(N,H) = {tuple(shape)}")
            cost = cost if weight == 1 else weight * cost
            total = cost if total is None else total + cost
        if total is None:
            return zeros(*shape)
        if self.discount != 1:
            total = total * self.discounts(shape[1])[:-1]
        over = self.over(trajectory, params)
        return total if over is None else torch.where(over, 0.0, total)

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,), weighted and discounted; 0 where the episode ends within the future."""
        number, horizon = trajectory.actions.shape[:2]
        if self.critic is None or self.critic_weight == 0:
            return zeros(number)
        cost = home(self.critic.terminal_cost(trajectory, params))
        weight = self.critic_weight * self.discount**horizon
        cost = cost if weight == 1 else weight * cost
        return cost if self._ending is None else torch.where(self.ends(trajectory, params), 0.0, cost)

    def discounts(self, horizon: int) -> Tensor:
        """The factors (H+1,) of the steps' costs and, last, of the terminal cost."""
        return self.discount ** torch.arange(horizon + 1, dtype=torch.float64)

    @cached_property
    def looks_back(self) -> bool:
        """Whether some step's cost depends on the steps before it."""
        return self._some("looks_back")

    @cached_property
    def reads_states(self) -> bool:
        """Whether a cost or the critic reads the model's states."""
        return self.critic is not None or self._some("reads_states")

    @cached_property
    def reads_doubt(self) -> bool:
        """Whether a cost reads the model's doubt."""
        return self._some("reads_doubt")

    def _some(self, trait: str) -> bool:
        return any(weight != 0 and getattr(term, trait, False) for weight, term in self.terms)

    def over(self, trajectory: Trajectory, params: TaskParams) -> Tensor | None:
        """Whether the episode has ended before each step, (N,H) bool; None where it never ends."""
        ended = None if self._ending is None else self._ending.ended(trajectory, params)
        return None if ended is None else torch.cat([torch.zeros_like(ended[:, :1]), ended[:, :-1]], 1)

    def ends(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """Whether the episode ends somewhere in each future, (N,) bool."""
        ended = None if self._ending is None else self._ending.ended(trajectory, params)
        return torch.zeros(len(trajectory.actions), dtype=torch.bool) if ended is None else ended[:, -1]

    @property
    def _ending(self) -> Ending | None:
        return next((term for _, term in self.terms if isinstance(term, Ending)), None)

    def reweighted(self, weights: Sequence[float]) -> Objective:
        """The same terms under other weights."""
        return replace(self, terms=tuple(zip(weights, (term for _, term in self.terms), strict=True)))
