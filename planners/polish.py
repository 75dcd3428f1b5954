"""Polishing: iLQR refines the plan of a sampling planner, with a share of the budget, if the problem is expandable.

Sampling compares whole candidates. For unstable dynamics and long horizons, that is not enough: a plan is then improved
only with feedback. Both planners publish by the same selection rule, so the polished plan is never worse than the
sampled one. H control steps, A action size.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeGuard, TypeVar

from planners.capabilities import Linearisable, LinearisableProblem
from planners.ilqr import Ilqr, IlqrParams
from planners.problem import Budget, Plan, Population, Problem, SearchStatistics
from planners.search.warm import WarmState

T = TypeVar("T")

DESCENT = IlqrParams(samples=0, descents=1, steps=6)


def before(problem: Problem[Any], budget: Budget, share: float, took: float) -> Budget:
    """The budget of the sampling search, which leaves the share for the descent.

    It is the whole budget if the problem cannot be expanded, if the share is too small for one step of a descent, or if
    the rest is too small for the references.

    Args:
        share: part of the budget for the descent.
        took: time of one evaluation, s; 0 if unknown, and then a budget in seconds counts as large enough.
    """
    if not share or not _expandable(problem):
        return budget
    if budget.seconds is None:
        assert budget.evaluations is not None
        last = round(share * budget.evaluations)
        rest = budget.evaluations - last
    else:
        total = budget.seconds / took if took else math.inf
        last, rest = share * total, (1 - share) * total
    references = len(problem.proposals) + 2  # plus the previous plan and the sampled plan
    if last < references + Ilqr(DESCENT).minimum(problem) or rest < references:
        return budget
    return Budget(evaluations=int(rest)) if budget.seconds is None else Budget(seconds=(1 - share) * budget.seconds)


def polished(problem: Problem[T], budget: Budget, found: Plan[T], seed: int, counter: int) -> Plan[T]:
    """Improve a plan by iLQR with the rest of the budget; the result is never worse.

    Returns `found` itself if nothing of the budget is left, or the problem cannot be expanded.

    Args:
        found: the sampled plan, (H,A); the descent gets it as its previous plan, so it is a reference there.
        seed, counter: of the search; they seed the random stream.
    """
    left = _left(budget, found.statistics)
    if left is None or not _expandable(problem):
        return found
    plan, _ = Ilqr(DESCENT).plan(WarmState(seed, counter, found.actions.numpy()), problem, left)
    one, two = found.statistics, plan.statistics
    assert found.population is not None
    assert plan.population is not None
    later = (batch._replace(iteration=batch.iteration + one.iterations) for batch in plan.population.batches)
    return replace(
        plan,
        statistics=SearchStatistics(
            one.evaluations + two.evaluations,
            one.iterations + two.iterations,
            one.seconds + two.seconds,
            {"previous": one.source, "sample": "descent"}.get(two.source, two.source),
        ),
        population=Population((*found.population.batches, *later)),
    )


def _expandable(problem: Problem[T]) -> TypeGuard[LinearisableProblem[T]]:
    return isinstance(problem, Linearisable) and problem.expandable()


def _left(budget: Budget, spent: SearchStatistics) -> Budget | None:
    """The rest of the budget; None if nothing is left."""
    if budget.seconds is not None:
        seconds = budget.seconds - spent.seconds
        return Budget(seconds=seconds) if seconds > 0 else None
    assert budget.evaluations is not None
    left = budget.evaluations - spent.evaluations
    return Budget(evaluations=left) if left > 0 else None
