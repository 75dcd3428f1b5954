"""The types that a planner works with: it takes a `Problem` and returns a `Plan`.

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
    """A numpy view of a CPU tensor: same shape, unit and memory."""
    return (tensor.detach() if tensor.requires_grad else tensor).numpy()


@dataclass(frozen=True)
class Limits:
    """When a margin counts as violated, and how much: below `-tolerance`, in units of `scale`."""

    tolerance: Tensor  # (G,) in the guardrail's unit, >= 0
    scale: Tensor  # (G,) in the guardrail's unit, > 0; an excess of one `scale` is a scaled violation of 1 ("1 bad")

    @staticmethod
    def none() -> Limits:
        """No guardrails: G = 0."""
        return Limits(torch.zeros(0, dtype=torch.float64), torch.ones(0, dtype=torch.float64))

    def violation(self, margin: Tensor) -> np.ndarray:
        """Margins (N,G) -> worst scaled violation of each candidate, (N,): 0 if every guardrail holds."""
        if margin.shape[1] == 0:
            return np.zeros(len(margin))
        values = read(margin)
        excess = np.maximum(-self.tolerance.numpy() - values, 0.0) / self.scale.numpy()
        return np.where(np.isfinite(values), excess, np.inf).max(1)


@dataclass(frozen=True)
class Evaluation:
    """The costs and margins of N candidates."""

    step_cost: Tensor  # (N,H)
    terminal_cost: Tensor  # (N,)
    margin: Tensor  # (N,G), worst over time and members, in each guardrail's unit
    valid: Tensor  # (N,) bool
    limits: Limits

    @cached_property
    def judged(self) -> tuple[np.ndarray, np.ndarray]:
        """`violation` and `cost` as numpy arrays, (N,) each.

        Numpy, because a search reads them right after a simulation has emptied the CPU's caches. Torch operations are
        several times slower there.
        """
        cost = np.add.reduce(read(self.step_cost), 1, dtype=np.float64)
        cost += read(self.terminal_cost)
        violation = self.limits.violation(self.margin)
        valid = self.valid.numpy()
        if np.count_nonzero(valid) < len(valid) or not isfinite(np.vdot(cost, cost)):  # usually false
            unsound = ~(np.isfinite(cost) & valid)
            cost[unsound] = violation[unsound] = np.inf
        return violation, cost

    @property
    def cost(self) -> Tensor:
        """Total cost, (N,) float64; +inf if the candidate is invalid or its cost is not finite (it diverged)."""
        return torch.from_numpy(self.judged[1])

    @property
    def violation(self) -> Tensor:
        """Worst scaled violation, (N,) float64: 0 if every guardrail holds, +inf if `cost` is +inf."""
        return torch.from_numpy(self.judged[0])

    @property
    def feasible(self) -> Tensor:
        """(N,) bool: valid, and no guardrail violated."""
        return self.violation == 0


class Problem(Protocol[T_co]):
    """The optimal control problem that a planner solves.

    The type parameter is the type of a trajectory, which planners never look into.
    """

    @property
    def horizon(self) -> int: ...

    @property
    def action_size(self) -> int: ...

    @property
    def dt(self) -> float: ...

    @property
    def proposals(self) -> Mapping[str, Tensor]:
        """Named action sequences (H,A) that every planner must evaluate; one of them is `fallback`."""
        ...

    def evaluate(self, actions: Tensor) -> Evaluation:
        """Costs and margins of candidates (N,H,A) in [-1,1], float64."""
        ...

    def imagine(self, actions: Tensor) -> T_co:
        """The trajectory of candidates (N,H,A)."""
        ...


@dataclass(frozen=True)
class Budget:
    """How much one `plan` may use: candidates evaluated, or seconds of wall clock.

    Exactly one of the two is set. Under a budget in seconds, a planner finishes the iteration under way, so the
    overshoot is at most one iteration. Sampling planners choose the number of candidates per iteration from the time
    that a candidate took in earlier plans. They stop up to half an iteration early if another iteration would
    overshoot by more.
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
    """The planner, with its parameters, cannot plan for this problem."""


class Batch(NamedTuple):
    """Candidates evaluated together."""

    iteration: int  # search iteration, from 0
    actions: Tensor  # (N,H,A)
    evaluation: Evaluation


@dataclass(frozen=True, eq=False)
class Population:
    """All N candidates evaluated for one plan, kept to explain and draw the decision.

    The batches are concatenated on first access, so that planning itself does not spend time on it.
    """

    batches: tuple[Batch, ...]  # in order of evaluation

    @cached_property
    def actions(self) -> Tensor:
        """Actions of all candidates, (N,H,A)."""
        return torch.cat([batch.actions for batch in self.batches])

    @cached_property
    def cost(self) -> Tensor:
        """Total costs, (N,)."""
        return torch.cat([batch.evaluation.cost for batch in self.batches])

    @cached_property
    def violation(self) -> Tensor:
        """Worst scaled violations, (N,)."""
        return torch.cat([batch.evaluation.violation for batch in self.batches])

    @cached_property
    def margin(self) -> Tensor:
        """Margins, (N,G)."""
        return torch.cat([batch.evaluation.margin for batch in self.batches]).detach()

    @cached_property
    def feasible(self) -> Tensor:
        """(N,) bool: valid, and no guardrail violated."""
        return self.violation == 0

    @cached_property
    def iteration(self) -> Tensor:
        """(N,) int64, the search iteration in which each candidate was evaluated."""
        sizes = torch.tensor([len(batch.actions) for batch in self.batches])
        return torch.tensor([batch.iteration for batch in self.batches]).repeat_interleave(sizes)


@dataclass(frozen=True)
class SearchStatistics:
    """How much one `plan` used."""

    evaluations: int  # candidates evaluated; H control steps simulated in any other way count as one candidate
    iterations: int
    seconds: float  # wall clock of the whole plan
    source: str  # origin of the published candidate: "sample", "mean", "descent", or the name of a reference


@dataclass(frozen=True)
class Plan(Generic[T]):
    """The action sequence that a planner chose."""

    actions: Tensor  # (H,A) in [-1,1]
    dt: float  # s per action
    cost: float
    margin: Tensor  # (G,)
    feasible: bool
    trajectory: T | None  # of `actions`, N = 1; planners leave it None, `Problem.imagine` computes it
    statistics: SearchStatistics
    population: Population | None = field(default=None, repr=False)
    tree: Tree | None = field(default=None, repr=False)  # None for planners without a search tree


class Planner(Protocol[S]):
    """Three methods over an explicit state; a planner has no hidden memory and uses no global random numbers."""

    def start(self, seed: int) -> S:
        """The state before the first plan."""
        ...

    def plan(self, state: S, problem: Problem[T], budget: Budget) -> tuple[Plan[T], S]:
        """Search, and return the plan and the next state.

        Deterministic: the same state and problem give the same plan (under a budget in evaluations).
        """
        ...

    def advance(self, state: S, steps: int) -> S:
        """Shift the warm start by `steps` executed control steps."""
        ...
