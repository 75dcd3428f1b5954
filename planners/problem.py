"""The nouns a planner works with: a `Problem` goes in, a `Plan` comes out.

N candidates, H control steps, A action size, G guardrails, P proposals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")


@dataclass(frozen=True)
class Limits:
    """How a margin is read: violated below `-tolerance`; `scale` is the unit of "1 bad"."""

    tolerance: Tensor  # (G,) in the guardrail's unit, >= 0
    scale: Tensor  # (G,) in the guardrail's unit, > 0

    @staticmethod
    def none() -> Limits:
        """No guardrails: G = 0."""
        return Limits(torch.zeros(0, dtype=torch.float64), torch.ones(0, dtype=torch.float64))


@dataclass(frozen=True)
class Evaluation:
    """What a problem says about N candidates."""

    step_cost: Tensor  # (N,H)
    terminal_cost: Tensor  # (N,)
    margin: Tensor  # (N,G), worst over time and members, in each guardrail's unit
    valid: Tensor  # (N,) bool
    limits: Limits

    @cached_property
    def cost(self) -> Tensor:
        """Total cost, (N,); +inf where the candidate is not valid or its cost is not a number."""
        # A search reads this once per iteration: one operation in torch, the small rest in numpy, is quicker.
        total = (self.step_cost.sum(1) + self.terminal_cost).detach().numpy()
        return torch.from_numpy(np.where(self.valid.numpy() & ~np.isnan(total), total, np.inf))

    @cached_property
    def violation(self) -> Tensor:
        """Worst scaled violation, (N,): 0 where every guardrail holds, +inf where not valid."""
        if self.margin.shape[1] == 0:
            return torch.from_numpy(np.where(self.valid.numpy(), 0.0, np.inf))
        excess = (-self.limits.tolerance - self.margin) / self.limits.scale
        excess = torch.where(torch.isfinite(self.margin), excess.clamp(min=0.0), torch.inf)
        return torch.where(self.valid, excess.amax(1), torch.inf)

    @cached_property
    def feasible(self) -> Tensor:
        """(N,) bool: valid, and no guardrail violated."""
        return self.violation == 0


class Problem(Protocol[T_co]):
    """What a planner minimises. The type parameter is the trajectory, opaque to planners."""

    @property
    def horizon(self) -> int: ...

    @property
    def action_size(self) -> int: ...

    @property
    def dt(self) -> float: ...

    @property
    def proposals(self) -> Mapping[str, Tensor]:
        """Named action sequences (H,A) that every planner must consider; holds `fallback`."""
        ...

    def evaluate(self, actions: Tensor) -> Evaluation:
        """Judge candidates (N,H,A) in [-1,1], float64."""
        ...

    def imagine(self, actions: Tensor) -> T_co:
        """The trajectory of candidates (N,H,A)."""
        ...


@dataclass(frozen=True)
class Budget:
    """How much one `plan` may cost: candidates evaluated, or seconds of wall clock.

    Exactly one of the two is set. A budget in seconds is anytime: the iteration under way is
    finished, so the overshoot is at most one iteration.
    """

    evaluations: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.evaluations is None) == (self.seconds is None):
            raise ValueError("Budget: give evaluations or seconds, exactly one of them")
        if self.evaluations is not None and self.evaluations < 1:
            raise ValueError(f"Budget.evaluations: {self.evaluations} given, allowed: >= 1")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"Budget.seconds: {self.seconds} given, allowed: > 0")


@dataclass(frozen=True)
class Population:
    """Candidates of one plan, kept for explaining and drawing the decision."""

    actions: Tensor  # (N,H,A)
    cost: Tensor  # (N,)
    margin: Tensor  # (N,G)
    feasible: Tensor  # (N,) bool
    iteration: Tensor  # (N,) int64, the search iteration each candidate was evaluated in


@dataclass(frozen=True)
class SearchStatistics:
    """What one `plan` cost."""

    evaluations: int  # candidates evaluated
    iterations: int
    seconds: float  # wall clock of the whole plan
    source: str  # what was published: "sample", "mean", or a proposal's name


@dataclass(frozen=True)
class Plan(Generic[T]):
    """The action sequence a planner stands by."""

    actions: Tensor  # (H,A) in [-1,1]
    dt: float  # s per action
    cost: float
    margin: Tensor  # (G,)
    feasible: bool
    trajectory: T | None  # of `actions`, N = 1; None until someone asks the problem for it
    statistics: SearchStatistics
    population: Population | None = field(default=None, repr=False)


class Planner(Protocol[S]):
    """Three verbs over an explicit state; no hidden memory, no global random numbers."""

    def start(self, seed: int) -> S:
        """The state before the first plan."""
        ...

    def plan(self, state: S, problem: Problem[T], budget: Budget) -> tuple[Plan[T], S]:
        """Search, and return the plan with the state that knows it. Same state, same plan."""
        ...

    def advance(self, state: S, steps: int) -> S:
        """Shift the warm start by `steps` executed control steps."""
        ...
