"""Base class of planners with a warm start: the last plan, shifted, is one of the references of the next search.

H control steps, A action size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from planners.params import Params
from planners.problem import Budget, Plan, Problem
from planners.search.knots import shift
from planners.search.search import Search, references

T = TypeVar("T")
M = TypeVar("M")
ParamsT = TypeVar("ParamsT", bound=Params)


@dataclass(frozen=True, eq=False)
class WarmState(Generic[M]):
    """Everything that a warm-started planner remembers between plans."""

    seed: int
    counter: int = 0  # plans made so far; seed and counter together seed the random stream of a plan
    previous: np.ndarray | None = None  # (H,A), the last published plan, shifted
    memory: M | None = None  # anything else that the planner keeps; never changed in place


class WarmPlanner(ABC, Generic[ParamsT, M]):
    """Evaluates the references, calls the subclass's `improve`, and publishes the best candidate evaluated."""

    Params: ClassVar[type[Params]]
    needs: ClassVar[type[Any]]  # the capability a problem must have, one of `planners.capabilities`

    def __init__(self, params: ParamsT | None = None) -> None:
        self.params: ParamsT = self.Params() if params is None else params  # pyright: ignore

    @abstractmethod
    def improve(self, search: Search[Any], rng: np.random.Generator, memory: M | None) -> M | None:
        """Search for better candidates while the budget lasts, and return the memory for the next plan.

        `search.problem` has the capability that the planner needs. `search.best` is the best reference.
        """

    def start(self, seed: int) -> WarmState[M]:
        """The state before the first plan. Raises ValueError for a negative seed."""
        if seed < 0:
            raise ValueError(f"{type(self).__name__}.start: seed = {seed} given, allowed: >= 0")
        return WarmState(seed)

    def plan(self, state: WarmState[M], problem: Problem[T], budget: Budget) -> tuple[Plan[T], WarmState[M]]:
        """Search within the budget, and return the plan and the next state.

        Under a budget in evaluations, the same state and problem give the same plan. By the order of
        `planners.search.select`, the published plan is never worse than any reference evaluated.
        Raises ValueError if the problem lacks the capability that this planner needs.
        """
        if not isinstance(problem, self.needs):
            given = f"{type(problem).__name__}, which is not {self.needs.__name__}"
            raise ValueError(f"{type(self).__name__}.plan: {given}, given; see planners.capabilities")
        search = Search(problem, budget)
        names, fixed = references(problem, _fitted(state.previous, problem))
        search.evaluate(fixed[: budget.evaluations], names)
        rng = np.random.default_rng([state.seed, state.counter])
        memory = self.improve(search, rng, state.memory) if search.room() else state.memory
        assert search.best is not None
        chosen = search.best
        return search.publish(chosen), WarmState(state.seed, state.counter + 1, chosen.actions, memory)

    def advance(self, state: WarmState[M], steps: int) -> WarmState[M]:
        """Shift the previous plan by `steps` control steps, holding the last action."""
        if state.previous is None:
            return state
        return replace(state, previous=shift(state.previous, steps))


def _fitted(previous: np.ndarray | None, problem: Problem[Any]) -> np.ndarray | None:
    """The previous plan (H,A); if the horizon changed, it is cut or its last action held."""
    if previous is None:
        return None
    if previous.shape[1] != problem.action_size:
        given, known = problem.action_size, previous.shape[1]
        raise ValueError(f"Problem.action_size: {given} given, the state knows {known}; use `start`")
    return previous[np.minimum(np.arange(problem.horizon), len(previous) - 1)]
