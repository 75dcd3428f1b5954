"""What iLQR makes of a plan that samples found, with a share of the budget, where the problem can be expanded.

Samples choose among futures; where these are unstable, only feedback can mend a long one. Both publish through the one
selection rule, so the polished plan is never worse than the one found. H control steps, A action size.
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
    """What a search may spend, so that the share is left for a descent.

    All of it where the problem cannot be expanded, and where the share is too few evaluations for one step of a descent
    or the rest for the references.

    Args:
        took: s that an evaluation takes; 0 where that is not known, and seconds are taken to be enough.
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
    references = len(problem.proposals) + 2  # the previous plan, and what the search has found
    if last < references + Ilqr(DESCENT).minimum(problem) or rest < references:
        return budget
    return Budget(evaluations=int(rest)) if budget.seconds is None else Budget(seconds=(1 - share) * budget.seconds)


def polished(problem: Problem[T], budget: Budget, found: Plan[T], seed: int, counter: int) -> Plan[T]:
    """A plan no worse than the one found, with what the search has left of the budget; the same where that is nothing.

    Args:
        found: (H,A); the descent takes it for the last plan, which it must not make worse.
        seed, counter: of the search; they make the stream of random numbers.
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
    """What has not been spent; None where that is nothing."""
    if budget.seconds is not None:
        seconds = budget.seconds - spent.seconds
        return Budget(seconds=seconds) if seconds > 0 else None
    assert budget.evaluations is not None
    left = budget.evaluations - spent.evaluations
    return Budget(evaluations=left) if left > 0 else None
