"""The nouns a planner works with: a `Problem` goes in, a `Plan` comes out.

N candidates, H control steps, A action size, G guardrails, P proposals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isfinite
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from planners.tree import Tree

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")


def read(tensor: Tensor) -> np.ndarray:
    """Its numbers (…) in an array of the same shape and unit, which shares its memory. Of the CPU's tensors alone."""
    return (tensor.detach() if tensor.requires_grad else tensor).numpy()


@dataclass(frozen=True)
class Limits:
    """How a margin is read: violated below `-tolerance`; `scale` is the unit of "1 bad"."""

    tolerance: Tensor  # (G,) in the guardrail's unit, >= 0
    scale: Tensor  # (G,) in the guardrail's unit, > 0

    @staticmethod
    def none() -> Limits:
        """No guardrails: G = 0."""
        return Limits(torch.zeros(0, dtype=torch.float64), torch.ones(0, dtype=torch.float64))

    def violation(self, margin: Tensor) -> np.ndarray:
        """Worst scaled violation of each candidate, (N,), of its margins (N,G): 0 where every guardrail holds."""
        if margin.shape[1] == 0:
            return np.zeros(len(margin))
        values = read(margin)
        excess = np.maximum(-self.tolerance.numpy() - values, 0.0) / self.scale.numpy()
        return np.where(np.isfinite(values), excess, np.inf).max(1)


@dataclass(frozen=True)
class Evaluation:
    """What a problem says about N candidates."""

    step_cost: Tensor  # (N,H)
    terminal_cost: Tensor  # (N,)
    margin: Tensor  # (N,G), worst over time and members, in each guardrail's unit
    valid: Tensor  # (N,) bool
    limits: Limits

    @cached_property
    def judged(self) -> tuple[np.ndarray, np.ndarray]:
        """`violation` and `cost`, (N,) each, in numpy: a search reads them between simulations that left the caches
        cold, where every operation of torch is several times dearer."""
        cost = np.add.reduce(read(self.step_cost), 1, dtype=np.float64)
        cost += read(self.terminal_cost)
        violation = self.limits.violation(self.margin)
        valid = self.valid.numpy()
        if np.count_nonzero(valid) < len(valid) or not isfinite(np.vdot(cost, cost)):  # mostly, all are sound
            unsound = ~(np.isfinite(cost) & valid)
            cost[unsound] = violation[unsound] = np.inf
        return violation, cost

    @property
    def cost(self) -> Tensor:
        """Total cost, (N,) float64; +inf where the candidate is not valid or its cost not finite: it diverged."""
        return torch.from_numpy(self.judged[1])

    @property
    def violation(self) -> Tensor:
        """Worst scaled violation, (N,) float64: 0 where every guardrail holds, +inf where the cost is."""
        return torch.from_numpy(self.judged[0])

    @property
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
    finished, so the overshoot is at most one iteration. Planners that sample choose the size of
    their iterations by how long a candidate took in their last plans, and end up to half an
    iteration early where another one would miss the end by more.
    """

    evaluations: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.evaluations is None) == (self.seconds is None):
            raise ValueError("Budget: give evaluations or seconds, exactly one of them")
        if self.evaluations is not None and self.evaluations < 1:
            raise ValueError(f"Budget.evaluations: {self.evaluations} given, allowed: >= 1")
        if self.seconds is not None and not 0 < self.seconds < inf:
            raise ValueError(f"Budget.seconds: {self.seconds} given, allowed: > 0, finite")


class Unsuited(ValueError):
    """A problem that a planner, with the parameters it has, cannot plan for."""


class Batch(NamedTuple):
    """Candidates judged together."""

    iteration: int  # of the search, from 0
    actions: Tensor  # (N,H,A)
    evaluation: Evaluation


@dataclass(frozen=True, eq=False)
class Population:
    """Candidates of one plan, N together, kept for explaining and drawing the decision.

    They are joined when somebody asks, which a search in a hurry never does.
    """

    batches: tuple[Batch, ...]  # in the order of their evaluation

    @cached_property
    def actions(self) -> Tensor:
        """(N,H,A)"""
        return torch.cat([batch.actions for batch in self.batches])

    @cached_property
    def cost(self) -> Tensor:
        """(N,)"""
        return torch.cat([batch.evaluation.cost for batch in self.batches])

    @cached_property
    def violation(self) -> Tensor:
        """(N,)"""
        return torch.cat([batch.evaluation.violation for batch in self.batches])

    @cached_property
    def margin(self) -> Tensor:
        """(N,G)"""
        return torch.cat([batch.evaluation.margin for batch in self.batches]).detach()

    @cached_property
    def feasible(self) -> Tensor:
        """(N,) bool"""
        return self.violation == 0

    @cached_property
    def iteration(self) -> Tensor:
        """(N,) int64, the search iteration each candidate was evaluated in."""
        sizes = torch.tensor([len(batch.actions) for batch in self.batches])
        return torch.tensor([batch.iteration for batch in self.batches]).repeat_interleave(sizes)


@dataclass(frozen=True)
class SearchStatistics:
    """What one `plan` cost."""

    evaluations: int  # candidates evaluated; what else was simulated counts in candidates' worth of steps
    iterations: int
    seconds: float  # wall clock of the whole plan
    source: str  # what was published: "sample", "mean", "descent", or a proposal's name


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
    tree: Tree | None = field(default=None, repr=False)  # of a search that grew one


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
