"""The record of one `plan`: budget used, candidates evaluated, best candidate. Shared by all planners.

N candidates, R references, H control steps, A action size, G guardrails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from planners.problem import Batch, Budget, Evaluation, Plan, Population, Problem, SearchStatistics, read
from planners.search.knots import bounded
from planners.search.select import Scores, first, scores
from planners.tree import Tree

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Candidate:
    """One evaluated candidate."""

    batch: Batch
    index: int  # in the batch
    key: tuple[float, float]  # (violation, cost), compared with `<`
    source: str

    @property
    def actions(self) -> np.ndarray:
        """A copy, (H,A)."""
        return self.batch.actions.numpy()[self.index].copy()

    @property
    def margin(self) -> Tensor:
        """A copy, (G,)."""
        return torch.from_numpy(read(self.batch.evaluation.margin)[self.index].copy())


class Search(Generic[T]):
    """Evaluates candidates, records them, and keeps the best one by the order of `planners.search.select`."""

    def __init__(self, problem: Problem[T], budget: Budget) -> None:
        self.problem = problem
        self.budget = budget
        self.began = perf_counter()
        self._candidates = self._steps = 0
        self.iterations = 0
        self.best: Candidate | None = None
        self.tree: Tree | None = None  # set by tree planners
        self._batches: list[Batch] = []

    @property
    def seconds(self) -> float:
        """Wall-clock time since the plan began, s."""
        return perf_counter() - self.began

    @property
    def late(self) -> bool:
        """Whether the time budget is used up; never true for a budget in evaluations."""
        return self.past(1.0)

    def past(self, share: float) -> bool:
        """Whether this share of the time budget is used up.

        A search that still has to evaluate its result passes a share below 1.
        """
        return self.budget.seconds is not None and self.seconds >= share * self.budget.seconds

    def over(self, took: float) -> bool:
        """Whether to stop now: another iteration of `took` s would end farther from the time limit than now."""
        return self.budget.seconds is not None and self.seconds + took / 2 >= self.budget.seconds

    @property
    def left(self) -> float:
        """Evaluations that the budget still allows; infinite for a budget in seconds."""
        return math.inf if self.budget.evaluations is None else self.budget.evaluations - self.evaluations

    def room(self, evaluations: float = 1) -> bool:
        """Whether the budget allows this many more evaluations."""
        return self.left >= evaluations and not self.late

    def spend(self, steps: int) -> None:
        """Count control steps that were not simulated by `evaluate`; H of them count as one evaluation."""
        self._steps += steps

    @property
    def evaluations(self) -> int:
        """Evaluations used: candidates evaluated, plus the other simulated control steps divided by H, rounded up."""
        return self._candidates + -(-self._steps // self.problem.horizon)

    def evaluate(self, actions: np.ndarray, names: Sequence[str] = ()) -> Scores:
        """Evaluate and record candidates (N,H,A) in [-1,1], float64, contiguous.

        In a tie, the earlier candidate stays the best one.
        Raises ValueError if the problem answers for another number of candidates.

        Args:
            names: sources of the first candidates; the others are "sample".
        """
        candidates = torch.from_numpy(actions)
        return self.record(candidates, self.problem.evaluate(candidates), names)

    def record(self, actions: Tensor, evaluation: Evaluation, names: Sequence[str] = ()) -> Scores:
        """Record candidates (N,H,A) that the caller has evaluated already; otherwise like `evaluate`."""
        batch = Batch(self.iterations, actions, evaluation)
        values = scores(evaluation)
        if len(values) != len(actions):
            raise ValueError(f"Problem.evaluate: {len(actions)} candidates given, {len(values)} answered")
        index = first(values)
        if self.best is None or values.key(index) < self.best.key:
            self.best = Candidate(batch, index, values.key(index), names[index] if index < len(names) else "sample")
        self._candidates += len(actions)
        self._batches.append(batch)
        return values

    def candidate(self, source: str) -> Candidate:
        """The first candidate of the last batch, whatever its rank."""
        batch = self._batches[-1]
        return Candidate(batch, 0, scores(batch.evaluation).key(0), source)

    def publish(self, candidate: Candidate) -> Plan[T]:
        """The plan for `candidate`, with the statistics and the population of this search."""
        violation, cost = candidate.key
        iterations = max(self.iterations, self._batches[-1].iteration + 1)  # the last iteration may be unfinished
        statistics = SearchStatistics(self.evaluations, iterations, self.seconds, candidate.source)
        return Plan(
            actions=torch.from_numpy(candidate.actions),
            dt=self.problem.dt,
            cost=cost,
            margin=candidate.margin,
            feasible=violation == 0,
            trajectory=None,
            statistics=statistics,
            population=Population(tuple(self._batches)),
            tree=self.tree,
        )


def references(problem: Problem, previous: np.ndarray | None) -> tuple[list[str], np.ndarray]:
    """The candidates that every planner must evaluate: names and actions (R,H,A), most important first.

    The order is `fallback`, then `previous` (the last plan shifted, if there is one), then the other proposals.
    `fallback` is first, so that it wins every tie and is published if no candidate is valid.
    Raises ValueError if `fallback` is missing, or if a proposal has the wrong shape or is not finite.
    """
    shape = (problem.horizon, problem.action_size)
    proposals = problem.proposals
    if "fallback" not in proposals:
        raise ValueError(f"Problem.proposals: {sorted(proposals)} given, 'fallback' must be among them")
    found = {"fallback": proposals["fallback"], **proposals}
    named = [(name, actions.numpy(force=True)) for name, actions in found.items()]
    if previous is not None:
        named.insert(1, ("previous", previous))
    out = np.empty((len(named), *shape))
    for row, (name, actions) in zip(out, named, strict=True):
        if actions.shape != shape:
            raise ValueError(f"Problem.proposals[{name!r}]: shape {actions.shape} given, allowed: (H,A) = {shape}")
        row[:] = actions
    if not np.isfinite(out).all():
        bad = [name for row, (name, _) in zip(out, named, strict=True) if not np.isfinite(row).all()]
        raise ValueError(f"Problem.proposals: {bad} are not finite")
    return [name for name, _ in named], bounded(out)
