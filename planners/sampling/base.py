"""Base class of all sampling planners (sampling-based MPC, zeroth-order optimisation of action sequences).

In each iteration, a planner samples candidates, evaluates them, and updates its distribution. A subclass implements two
short methods over a `Distribution` of knots, `begin` and `update`. It overrides `noise` or `sample` if its candidates
are not mean + std * white noise.
N candidates, H control steps, P knots, A action size, K elites, R references (proposals, the previous plan).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np

from planners.params import Params
from planners.polish import before, polished
from planners.problem import Budget, Plan, Problem
from planners.sampling import timing
from planners.sampling.distribution import Distribution, around, split
from planners.search.knots import INTERPOLATIONS, Interpolation, Spline, bounded, shift, spline
from planners.search.noise import Stock
from planners.search.search import Search, references
from planners.search.select import Scores

T = TypeVar("T")
ParamsT = TypeVar("ParamsT", bound="SamplingParams")


@dataclass(frozen=True)
class SamplingParams(Params):
    """Parameters of every sampling planner."""

    samples: int = 64  # per iteration, in the first plan under a budget in seconds; later sizes are from measured times
    iterations: int = 3  # per round; under a budget in seconds, rounds are repeated until the time is used up
    knots: int | None = None  # P, at most one per control step; None: one per control step
    interpolation: Interpolation = "linear"  # between knots
    descent: float = 0.0  # share of the budget for iLQR, started from the plan found; needs a `Linearisable` problem

    def __post_init__(self) -> None:
        self.require("samples", 1 <= self.samples <= 1_000_000, "1 to 1,000,000")
        self.require("iterations", 1 <= self.iterations <= 10_000, "1 to 10,000")
        self.require("knots", self.knots is None or self.knots >= 1, ">= 1, or None")
        self.require("descent", 0 <= self.descent < 1, "0 <= descent < 1")
        self.require("interpolation", self.interpolation in INTERPOLATIONS, str(INTERPOLATIONS))


@dataclass(frozen=True, eq=False)
class SamplingState:
    """Everything that a sampling planner remembers between plans."""

    seed: int
    counter: int = 0  # plans made so far; seed and counter together seed the random stream of a plan
    previous: np.ndarray | None = None  # (H,A), the last published plan, shifted
    distribution: Distribution | None = None  # of the last plan, shifted
    step_seconds: float = 0.0  # s, planning time per candidate and control step, from earlier plans; 0: unknown


class SamplingPlanner(ABC, Generic[ParamsT]):
    """The sampling loop. A subclass sets `Params` and `mean_is`, and implements `begin` and `update`."""

    Params: ClassVar[type[SamplingParams]]
    needs: ClassVar[type[Any]] = object  # no capability: any problem
    # How the distribution's mean is used. An average of feasible candidates need not be feasible, so the mean is never
    # published unevaluated.
    # ignored: the mean is never a candidate.
    # sampled: the mean is a candidate in the last iteration of each round.
    # published: the mean is evaluated at the end, and published if it is feasible and no worse than any reference.
    mean_is: ClassVar[Literal["ignored", "sampled", "published"]]
    lqr_tolerance: ClassVar[float]  # relative suboptimality on the conformance suite's LQR

    def __init__(self, params: ParamsT | None = None) -> None:
        self.params: ParamsT = self.Params() if params is None else params  # pyright: ignore

    @abstractmethod
    def begin(self, distribution: Distribution) -> Distribution:
        """The distribution at the start of a round of iterations, given the last one, shifted."""

    def noise(self, rng: np.random.Generator, count: int, knots: int, size: int) -> np.ndarray:
        """Noise of the candidates of a whole round, (count,P,A); white unless overridden."""
        return rng.standard_normal((count, knots, size))

    def sample(self, distribution: Distribution, stock: Stock, count: int) -> np.ndarray:
        """Candidates mean + std * noise, (count,P,A), in an array that the caller may change.

        The caller clips them to [-1,1] in place.
        """
        return around(distribution, stock.take(count))

    @abstractmethod
    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """The distribution after an iteration that evaluated candidates (N,P,A)."""

    def split(self, total: int) -> tuple[int, ...]:
        """The number of candidates in each iteration of a round; they sum to `total`."""
        return split(total, self.params.iterations)

    def start(self, seed: int) -> SamplingState:
        """The state before the first plan. Raises ValueError for a negative seed."""
        if seed < 0:
            raise ValueError(f"{type(self).__name__}.start: seed = {seed} given, allowed: >= 0")
        return SamplingState(seed)

    def plan(self, state: SamplingState, problem: Problem[T], budget: Budget) -> tuple[Plan[T], SamplingState]:
        """Search within the budget, and return the plan and the next state.

        Under a budget in evaluations, the same state and problem give the same plan. By the order of
        `planners.search.select`, the published plan is never worse than any reference evaluated.
        """
        first = before(problem, budget, self.params.descent, state.step_seconds * problem.horizon)
        found, after = self._searched(state, problem, first)
        if first is budget:
            return found, after
        plan = polished(problem, budget, found, state.seed, state.counter)
        return plan, after if plan is found else self._around(after, plan)

    def _searched(self, state: SamplingState, problem: Problem[T], budget: Budget) -> tuple[Plan[T], SamplingState]:
        """The sampling search, without the descent that may follow it."""
        search = Search(problem, budget)
        rng = np.random.default_rng([state.seed, state.counter])
        horizon, size = problem.horizon, problem.action_size
        curve = spline(self.params.interpolation, min(self.params.knots or horizon, horizon), horizon)
        previous, distribution = _warm(state, curve, size)
        names, fixed = references(problem, previous)
        sizes = self._sizes(budget, len(names), state.step_seconds * horizon)
        if not sizes:  # the budget is too small to sample: evaluate only references, most important first
            search.evaluate(fixed[: budget.evaluations], names)
        floor = (np.inf, np.inf)
        stock = Stock(np.zeros((0, curve.knots, size)))
        for index, count in enumerate(sizes if budget.seconds is None else cycle(sizes)):
            search.iterations, begun = index, search.seconds
            at = index % len(sizes)
            if at == 0:
                distribution = self.begin(distribution)
                stock = Stock(self.noise(rng, sum(sizes), *distribution.mean.shape))
            with_mean = self.mean_is == "sampled" and at == len(sizes) - 1 and count > 1
            knots = bounded(np.ascontiguousarray(self.sample(distribution, stock, count - with_mean), np.float64))
            labels: list[str] = []
            if with_mean:
                labels = ["mean"]
                knots = np.concatenate([distribution.mean[None], knots])
            actions = curve.expand(knots)
            if index == 0:
                labels = names + labels
                actions = np.concatenate([fixed, actions])
                knots = np.concatenate([curve.fit(fixed), knots])
            scores = search.evaluate(actions, labels)
            if index == 0:
                floor = min(scores.key(row) for row in range(len(names)))
            distribution = self.update(distribution, knots, scores)
            search.iterations = index + 1
            if search.over(search.seconds - begun):
                break
        assert search.best is not None
        chosen = search.best
        if self.mean_is == "published" and sizes and search.left >= 1:
            search.iterations -= 1  # record the mean under the iteration that computed it
            values = search.evaluate(curve.expand(distribution.mean[None].copy()), ["mean"])
            search.iterations += 1
            if values.feasible[0] and values.key(0) <= floor:
                chosen = search.candidate("mean")
            else:  # do not search around a rejected mean in the next plan; use the published candidate instead
                chosen = search.best
                distribution = replace(distribution, mean=curve.fit(chosen.actions))
        known = state.step_seconds
        if budget.seconds is not None:
            known = timing.learned(known, search.seconds / (search.evaluations * horizon))
        state = SamplingState(state.seed, state.counter + 1, chosen.actions, distribution, known)
        return search.publish(chosen), state

    def advance(self, state: SamplingState, steps: int) -> SamplingState:
        """Shift the previous plan and the distribution by `steps` control steps, holding the last action."""
        if state.previous is None or state.distribution is None:
            return state
        previous, old = state.previous, state.distribution
        curve = spline(self.params.interpolation, len(old.mean), len(previous))
        moved = replace(old, mean=curve.shift(old.mean, steps), elites=curve.shift(old.elites, steps))
        return replace(state, previous=shift(previous, steps), distribution=moved)

    def _around(self, state: SamplingState, plan: Plan[Any]) -> SamplingState:
        """The state with its previous plan and its mean replaced by another plan."""
        actions = plan.actions.numpy().copy()
        assert state.distribution is not None
        curve = spline(self.params.interpolation, len(state.distribution.mean), len(actions))
        return replace(state, previous=actions, distribution=replace(state.distribution, mean=curve.fit(actions)))

    def _sizes(self, budget: Budget, fixed: int, took: float) -> tuple[int, ...]:
        """The number of candidates to sample in each iteration; references and an evaluated mean are extra.

        Args:
            fixed: number of references.
            took: planning time per candidate, s; 0 if unknown.
        """
        if budget.evaluations is not None:
            room = budget.evaluations - fixed
        elif not took:
            return self.split(self.params.samples * self.params.iterations)
        else:
            assert budget.seconds is not None
            room = max(timing.affordable(budget.seconds, took) - fixed, 1)
        if self.mean_is == "published" and room > 1:
            room -= 1
        return self.split(room) if room > 0 else ()


def _warm(state: SamplingState, curve: Spline, size: int) -> tuple[np.ndarray | None, Distribution]:
    """The warm start: the previous plan (H,A) and the distribution, fitted to this problem's horizon."""
    previous, distribution = state.previous, state.distribution
    if previous is None or distribution is None:
        return None, _nothing(np.zeros((curve.knots, size)))
    if previous.shape[1] != size:
        raise ValueError(f"Problem.action_size: {size} given, the state knows {previous.shape[1]}; use `start`")
    if len(previous) == curve.horizon and len(distribution.mean) == curve.knots:
        return previous, Distribution(distribution.mean, distribution.std, distribution.elites)
    # The horizon changed: cut the plan or hold its last action, and start with a mean fitted to it.
    previous = previous[np.minimum(np.arange(curve.horizon), len(previous) - 1)]
    return previous, _nothing(curve.fit(previous))


def _nothing(mean: np.ndarray) -> Distribution:
    """A distribution with a mean (P,A) only: zero standard deviation, no elites."""
    return Distribution(mean, np.zeros_like(mean), elites=np.zeros((0, *mean.shape)))
