"""What all sampling planners share: candidates in, a better distribution out, the best candidate published.

A planner is two short methods over a `Distribution` of knots, `begin` and `update`, and its own `noise` or `sample`
where it does not want mean + std * white noise.
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

    samples: int = 64  # per iteration under a budget in seconds, until a plan has shown how long a candidate takes
    iterations: int = 3  # per round: under a budget in seconds, rounds follow each other until time is over
    knots: int | None = None  # P, at most one per control step; None: one per control step
    interpolation: Interpolation = "linear"  # between knots
    descent: float = 0.0  # share of the budget for iLQR from the plan found, if the problem can be expanded

    def __post_init__(self) -> None:
        self.require("samples", 1 <= self.samples <= 1_000_000, "1 to 1,000,000")
        self.require("iterations", 1 <= self.iterations <= 10_000, "1 to 10,000")
        self.require("knots", self.knots is None or self.knots >= 1, ">= 1, or None")
        self.require("descent", 0 <= self.descent < 1, "0 <= descent < 1")
        self.require("interpolation", self.interpolation in INTERPOLATIONS, str(INTERPOLATIONS))


@dataclass(frozen=True, eq=False)
class SamplingState:
    """All that a sampling planner knows between plans."""

    seed: int
    counter: int = 0  # plans made; with the seed it makes each plan's own random stream
    previous: np.ndarray | None = None  # (H,A), the last published plan, shifted
    distribution: Distribution | None = None  # the last one, shifted
    step_seconds: float = 0.0  # planning time per candidate and control step, from earlier plans; 0: unknown


class SamplingPlanner(ABC, Generic[ParamsT]):
    """The loop. A subclass gives `Params`, the three methods, and says what becomes of its mean."""

    Params: ClassVar[type[SamplingParams]]
    needs: ClassVar[type[Any]] = object  # any problem will do
    # What becomes of the distribution's mean, which is an average and so not safe because its parts are.
    # ignored: never a candidate; sampled: a candidate in a round's last iteration; published: evaluated at
    # the end, and preferred where it is feasible and no worse than any reference.
    mean_is: ClassVar[Literal["ignored", "sampled", "published"]]
    lqr_tolerance: ClassVar[float]  # relative suboptimality on the conformance suite's LQR

    def __init__(self, params: ParamsT | None = None) -> None:
        self.params: ParamsT = self.Params() if params is None else params  # pyright: ignore

    @abstractmethod
    def begin(self, distribution: Distribution) -> Distribution:
        """The distribution that a round of iterations starts from, given the last one shifted."""

    def noise(self, rng: np.random.Generator, count: int, knots: int, size: int) -> np.ndarray:
        """What makes candidates differ, (count,P,A): white noise. Drawn for a whole round at once."""
        return rng.standard_normal((count, knots, size))

    def sample(self, distribution: Distribution, stock: Stock, count: int) -> np.ndarray:
        """Candidates (count,P,A), in an array that nobody else uses: mean + std * noise. The caller clips them to
        [-1,1], in place."""
        return around(distribution, stock.take(count))

    @abstractmethod
    def update(self, distribution: Distribution, knots: np.ndarray, scores: Scores) -> Distribution:
        """Learn from candidates (N,P,A) just evaluated."""

    def split(self, total: int) -> tuple[int, ...]:
        """Candidates of each iteration of a round, `total` together."""
        return split(total, self.params.iterations)

    def start(self, seed: int) -> SamplingState:
        """The state before the first plan. Raises ValueError for a negative seed."""
        if seed < 0:
            raise ValueError(f"{type(self).__name__}.start: seed = {seed} given, allowed: >= 0")
        return SamplingState(seed)

    def plan(self, state: SamplingState, problem: Problem[T], budget: Budget) -> tuple[Plan[T], SamplingState]:
        """Search within the budget; same state and same problem, same plan (under a budget in evaluations).

        The published plan is never worse, by the order of `planners.search.select`, than any reference evaluated.
        """
        first = before(problem, budget, self.params.descent, state.step_seconds * problem.horizon)
        found, after = self._searched(state, problem, first)
        if first is budget:
            return found, after
        plan = polished(problem, budget, found, state.seed, state.counter)
        return plan, after if plan is found else self._around(after, plan)

    def _searched(self, state: SamplingState, problem: Problem[T], budget: Budget) -> tuple[Plan[T], SamplingState]:
        """Samples alone."""
        search = Search(problem, budget)
        rng = np.random.default_rng([state.seed, state.counter])
        horizon, size = problem.horizon, problem.action_size
        curve = spline(self.params.interpolation, min(self.params.knots or horizon, horizon), horizon)
        previous, distribution = _warm(state, curve, size)
        names, fixed = references(problem, previous)
        sizes = self._sizes(budget, len(names), state.step_seconds * horizon)
        if not sizes:  # no room for a search: references alone, most important first
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
            search.iterations -= 1  # the mean belongs to the iteration that made it
            values = search.evaluate(curve.expand(distribution.mean[None].copy()), ["mean"])
            search.iterations += 1
            if values.feasible[0] and values.key(0) <= floor:
                chosen = search.candidate("mean")
            else:  # a mean that cannot go out is no place to search around next time
                chosen = search.best
                distribution = replace(distribution, mean=curve.fit(chosen.actions))
        known = state.step_seconds
        if budget.seconds is not None:
            known = timing.learned(known, search.seconds / (search.evaluations * horizon))
        state = SamplingState(state.seed, state.counter + 1, chosen.actions, distribution, known)
        return search.publish(chosen), state

    def advance(self, state: SamplingState, steps: int) -> SamplingState:
        """Shift previous plan and distribution by `steps` control steps, holding the last action."""
        if state.previous is None or state.distribution is None:
            return state
        previous, old = state.previous, state.distribution
        curve = spline(self.params.interpolation, len(old.mean), len(previous))
        moved = replace(old, mean=curve.shift(old.mean, steps), elites=curve.shift(old.elites, steps))
        return replace(state, previous=shift(previous, steps), distribution=moved)

    def _around(self, state: SamplingState, plan: Plan[Any]) -> SamplingState:
        """The same beliefs, around another plan."""
        actions = plan.actions.numpy().copy()
        assert state.distribution is not None
        curve = spline(self.params.interpolation, len(state.distribution.mean), len(actions))
        return replace(state, previous=actions, distribution=replace(state.distribution, mean=curve.fit(actions)))

    def _sizes(self, budget: Budget, fixed: int, took: float) -> tuple[int, ...]:
        """Candidates to sample in each iteration, besides references and an evaluated mean.

        Args:
            took: s that a candidate takes; 0 where that is not known.
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
    """The previous plan (H,A) and the distribution to begin with, fitted to this problem's horizon."""
    previous, distribution = state.previous, state.distribution
    if previous is None or distribution is None:
        return None, _nothing(np.zeros((curve.knots, size)))
    if previous.shape[1] != size:
        raise ValueError(f"Problem.action_size: {size} given, the state knows {previous.shape[1]}; use `start`")
    if len(previous) == curve.horizon and len(distribution.mean) == curve.knots:
        return previous, Distribution(distribution.mean, distribution.std, distribution.elites)
    # The horizon changed: cut the plan or hold its last action, and search around it.
    previous = previous[np.minimum(np.arange(curve.horizon), len(previous) - 1)]
    return previous, _nothing(curve.fit(previous))


def _nothing(mean: np.ndarray) -> Distribution:
    """What is believed before a search: a mean (P,A) alone."""
    return Distribution(mean, np.zeros_like(mean), elites=np.zeros((0, *mean.shape)))
