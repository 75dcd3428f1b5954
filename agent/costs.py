"""The cost module: task cost, intrinsic costs (`agent.intrinsic`) and a critic, all functions of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from envs.errors import TelosError
from envs.requests import Request
from envs.task import Task, TaskParams
from envs.trajectory import Trajectory, zeros


class Cost(Protocol):
    """One term of the objective. It never asks which model made the trajectory.

    One whose steps depend on the steps before them says `looks_back = True`: futures built step by step cannot have it.
    """

    @property
    def requests(self) -> tuple[Request, ...]: ...

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """Cost of every step, (N,H)."""
        ...


class Critic(Protocol):
    """What is to come beyond the horizon; a hook, zero where no critic is wired."""

    @property
    def requests(self) -> tuple[Request, ...]:
        """The signals that it reads; the model's states are in the trajectory too."""
        ...

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,)"""
        ...


@dataclass(frozen=True)
class TaskCost:
    """Minus the task's own reward; nothing more is earned once the episode has ended."""

    task: Task

    @property
    def requests(self) -> tuple[Request, ...]:
        return self.task.requests

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        reward = self.task.reward(trajectory, params)
        if self.task.termination is not None:
            ended = self.task.termination(trajectory, params).cumsum(1) > 0
            reward = reward.clone()
            reward[:, 1:][ended[:, :-1]] = 0.0
        return -reward

    def ends(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """Whether the episode ends somewhere in each future, (N,) bool."""
        if self.task.termination is None:
            return torch.zeros(len(trajectory.actions), dtype=torch.bool)
        return self.task.termination(trajectory, params).any(1)


@dataclass(frozen=True)
class Objective:
    """Weighted sum of cost terms and a critic. Weights reach costs only: a guardrail has none."""

    terms: tuple[tuple[float, Cost], ...]
    critic: Critic | None = None

    @property
    def requests(self) -> tuple[Request, ...]:
        sources = [term for _, term in self.terms] + ([] if self.critic is None else [self.critic])
        return tuple(request for source in sources for request in source.requests)

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,H). Raises TelosError for a term that answers with another shape."""
        shape = trajectory.actions.shape[:2]
        total: Tensor | None = None
        for weight, term in self.terms:
            if weight == 0:
                continue  # the configurator may raise it later
            cost = term.step_cost(trajectory, params)
            if cost.shape != shape:  # what broadcasts would be a sum of something else
                raise TelosError(f"cost {type(term).__name__}", f"shape {tuple(cost.shape)}", f"(N,H) = {tuple(shape)}")
            cost = cost if weight == 1 else weight * cost
            total = cost if total is None else total + cost
        return zeros(*shape) if total is None else total

    def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,)"""
        if self.critic is None:
            return zeros(trajectory.actions.shape[0])
        return self.critic.terminal_cost(trajectory, params)

    @property
    def looks_back(self) -> bool:
        """Whether some step's cost depends on the steps before it."""
        return any(weight != 0 and getattr(term, "looks_back", False) for weight, term in self.terms)

    def ends(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """Whether the episode ends somewhere in each future, (N,) bool."""
        ended = torch.zeros(len(trajectory.actions), dtype=torch.bool)
        for _, term in self.terms:
            if isinstance(term, TaskCost):
                ended |= term.ends(trajectory, params)
        return ended

    def reweighted(self, weights: Sequence[float]) -> Objective:
        """The same terms under other weights."""
        return Objective(tuple(zip(weights, (term for _, term in self.terms), strict=True)), self.critic)
