"""iCEM, then iLQR from what it found: samples choose among futures, feedback descends where they are unstable.

Both publish through the one selection rule, so the plan is never worse than iCEM's own, found with less of the budget.
H control steps, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from torch import Tensor

from planners.capabilities import Linearisable, LinearisableProblem, Linearisation
from planners.icem import Icem, IcemParams
from planners.ilqr import Ilqr, IlqrParams
from planners.knots import Interpolation, spline
from planners.params import Params
from planners.problem import Budget, Evaluation, Plan, Population, Problem, SearchStatistics
from planners.sampling import SamplingState
from planners.warm import WarmState

T = TypeVar("T")


@dataclass(frozen=True)
class PolishedParams(Params):
    """Parameters of both, and what each may spend."""

    share: float = 0.7  # of the budget, for the descent: a step of it costs as much as many candidates
    search: IcemParams = field(default_factory=IcemParams)
    descent: IlqrParams = field(default_factory=lambda: IlqrParams(samples=0, descents=1, steps=6))

    def __post_init__(self) -> None:
        self.require("share", 0 < self.share < 1, "0 < share < 1")


@dataclass(frozen=True, eq=False)
class _Offered(Generic[T]):
    """The same problem with one proposal more."""

    problem: LinearisableProblem[T]
    proposals: Mapping[str, Tensor]

    @property
    def horizon(self) -> int:
        return self.problem.horizon

    @property
    def action_size(self) -> int:
        return self.problem.action_size

    @property
    def dt(self) -> float:
        return self.problem.dt

    def evaluate(self, actions: Tensor) -> Evaluation:
        return self.problem.evaluate(actions)

    def imagine(self, actions: Tensor) -> T:
        return self.problem.imagine(actions)

    def expansion_steps(self) -> int:
        return self.problem.expansion_steps()

    def linearise(self, actions: Tensor) -> Linearisation:
        return self.problem.linearise(actions)

    def track(self, nominal: Tensor, offsets: Tensor, gains: Tensor) -> Tensor:
        return self.problem.track(nominal, offsets, gains)


class Polished:
    """iCEM with part of the budget; iLQR with the rest, from iCEM's plan; the next search begins around the result."""

    Params = PolishedParams
    needs = Linearisable
    lqr_tolerance = 1e-3

    def __init__(self, params: PolishedParams | None = None) -> None:
        self.params = PolishedParams() if params is None else params
        self._search, self._descent = Icem(self.params.search), Ilqr(self.params.descent)

    def start(self, seed: int) -> SamplingState:
        """The state before the first plan. Raises ValueError for a negative seed."""
        return self._search.start(seed)

    def plan(self, state: SamplingState, problem: Problem[T], budget: Budget) -> tuple[Plan[T], SamplingState]:
        """Search and descend within the budget; same state and same problem, same plan (under a budget in evaluations).

        Raises ValueError where the problem cannot be expanded.
        """
        if not isinstance(problem, Linearisable):
            raise ValueError(f"Polished.plan: {type(problem).__name__}, which is not Linearisable, given")
        expandable = cast("LinearisableProblem[T]", problem)
        share = self._share(expandable, budget)
        found, after = self._search.plan(state, problem, _part(budget, 1 - share))
        left = _left(budget, found.statistics) if share else None
        if left is None:
            return found, after
        proposals = MappingProxyType({**problem.proposals, "search": found.actions})
        offered = _Offered(expandable, proposals)
        polished, _ = self._descent.plan(WarmState(state.seed, state.counter), offered, left)
        return _both(found, polished), _around(after, polished, self.params.search.interpolation)

    def advance(self, state: SamplingState, steps: int) -> SamplingState:
        """Shift the previous plan and what is believed about good ones."""
        return self._search.advance(state, steps)

    def _share(self, problem: LinearisableProblem[Any], budget: Budget) -> float:
        """Of the budget, for the descent; 0 where that is too little for a step, or the rest for the references."""
        if budget.evaluations is None:
            return self.params.share
        last = round(self.params.share * budget.evaluations)
        references = len(problem.proposals) + 2  # the previous plan, and what the search has found
        enough = last >= references + self._descent.least(problem) and budget.evaluations - last >= references
        return self.params.share if enough else 0.0


def _part(budget: Budget, share: float) -> Budget:
    if budget.seconds is not None:
        return Budget(seconds=share * budget.seconds)
    assert budget.evaluations is not None
    return Budget(evaluations=round(share * budget.evaluations))


def _left(budget: Budget, spent: SearchStatistics) -> Budget | None:
    """What the search has not spent; None where that is nothing."""
    if budget.seconds is not None:
        seconds = budget.seconds - spent.seconds
        return Budget(seconds=seconds) if seconds > 0 else None
    assert budget.evaluations is not None
    return Budget(evaluations=budget.evaluations - spent.evaluations)


def _both(found: Plan[T], polished: Plan[T]) -> Plan[T]:
    """The polished plan, with all that both have evaluated."""
    one, two = found.statistics, polished.statistics
    source = one.source if two.source == "search" else two.source
    assert found.population is not None
    assert polished.population is not None
    later = (batch._replace(iteration=batch.iteration + one.iterations) for batch in polished.population.batches)
    return replace(
        polished,
        statistics=SearchStatistics(
            one.evaluations + two.evaluations, one.iterations + two.iterations, one.seconds + two.seconds, source
        ),
        population=Population((*found.population.batches, *later)),
    )


def _around(state: SamplingState, plan: Plan[Any], interpolation: Interpolation) -> SamplingState:
    """The same beliefs, around the published plan."""
    actions = plan.actions.numpy().copy()
    assert state.distribution is not None
    curve = spline(interpolation, len(state.distribution.mean), len(actions))
    return replace(state, previous=actions, distribution=replace(state.distribution, mean=curve.fit(actions)))
