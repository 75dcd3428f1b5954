"""What one `plan` has evaluated so far, and the best of it. Shared by every planner that judges candidates.

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
    """Evaluates through the problem and remembers; the best candidate is kept by `planners.search.select` alone."""

    def __init__(self, problem: Problem[T], budget: Budget) -> None:
        self.problem = problem
        self.budget = budget
        self.began = perf_counter()
        self._candidates = self._steps = 0
        self.iterations = 0
        self.best: Candidate | None = None
        self.tree: Tree | None = None  # what the search grew, where it grew one
        self._batches: list[Batch] = []

    @property
    def seconds(self) -> float:
        """Wall clock since the plan began."""
        return perf_counter() - self.began

    @property
    def late(self) -> bool:
        """Whether the budget's seconds are over."""
        return self.past(1.0)

    def past(self, share: float) -> bool:
        """Whether this share of the budget's seconds is over: who must yet judge what was found ends before `late`."""
        return self.budget.seconds is not None and self.seconds >= share * self.budget.seconds

    def over(self, took: float) -> bool:
        """Whether the budget's seconds would be missed by more with another iteration, of `took` s, than without."""
        return self.budget.seconds is not None and self.seconds + took / 2 >= self.budget.seconds

    @property
    def left(self) -> float:
        """Evaluations that the budget still allows; without end where it is one in seconds."""
        return math.inf if self.budget.evaluations is None else self.budget.evaluations - self.evaluations

    def room(self, evaluations: float = 1) -> bool:
        """Whether so many evaluations more are within the budget."""
        return self.left >= evaluations and not self.late

    def spend(self, steps: int) -> None:
        """Count control steps simulated otherwise than by `evaluate`; H of them are one evaluation."""
        self._steps += steps

    @property
    def evaluations(self) -> int:
        """Candidates evaluated, and whatever else was simulated, in candidates' worth of steps."""
        return self._candidates + -(-self._steps // self.problem.horizon)

    def evaluate(self, actions: np.ndarray, names: Sequence[str] = ()) -> Scores:
        """Judge (N,H,A) in [-1,1], float64 contiguous; the first `names` rows are known by name.

        Ties keep the earlier candidate. Raises ValueError when the problem answers for another number.
        """
        candidates = torch.from_numpy(actions)
        return self.record(candidates, self.problem.evaluate(candidates), names)

    def record(self, actions: Tensor, evaluation: Evaluation, names: Sequence[str] = ()) -> Scores:
        """Remember candidates (N,H,A) that the problem has judged by another of its methods; see `evaluate`."""
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
        """The plan that stands by `candidate`."""
        violation, cost = candidate.key
        iterations = max(self.iterations, self._batches[-1].iteration + 1)  # the last may not have been ended
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
    """The candidates that every plan must consider: names and actions (R,H,A), most important first.

    `fallback` comes first, so that it wins every tie (and goes out when nothing is valid); then `previous`,
    the last plan shifted, where there is one; then the other proposals. Raises ValueError where `fallback` is
    missing, or a proposal has the wrong shape or is not finite.
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
