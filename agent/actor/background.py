"""Planning in a background thread while the world goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent.actor.actor import Actor, later
from agent.composition.problem import ImaginedProblem
from envs.trajectory import Trajectory
from planners.problem import Budget, Plan


@dataclass(frozen=True, eq=False)
class Question:
    """A request to plan."""

    step: int  # of the episode; the plan starts from the state at this step
    problem: ImaginedProblem
    budget: Budget
    planner: str
    params: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Answer:
    """A finished plan."""

    step: int  # of the episode; the plan starts from the state at this step
    plan: Plan[Trajectory]


class Mind:
    """The planner, and the episode's step for which it planned last."""

    def __init__(self, actor: Actor) -> None:
        self.plans = 0
        self.seconds = 0.0  # wall clock of planning so far
        self._actor = actor
        self._step = 0

    def answer(self, question: Question) -> Answer:
        """Plan from the question's state, with the question's planner.

        Before that, the warm start is advanced by the steps since the last question.
        """
        actor = self._actor
        actor.advance(question.step - self._step)
        self._step = question.step
        if (question.planner, question.params) != (actor.planner_name, actor.planner_params):
            actor.switch(question.planner, question.params)
        plan = actor.plan(question.problem, question.budget)
        self.plans += 1
        self.seconds += plan.statistics.seconds
        return Answer(question.step, plan)


class Thinker(Protocol):
    """Answers planning questions asynchronously."""

    def ask(self, question: Question) -> None:
        """Submit a question, which replaces the one that is waiting."""
        ...

    def latest(self) -> Answer:
        """The latest answer; blocks until the first one is there. Raises what planning raised."""
        ...

    def close(self) -> None:
        """Stop answering; returns after the search in progress has ended."""
        ...


class PlannerThread:
    """Answers the newest question in a background thread, until it is closed or planning fails."""

    def __init__(self, mind: Mind) -> None:
        self._mind = mind
        self._changed = threading.Condition()
        self._question: Question | None = None
        self._answer: Answer | None = None
        self._failure: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="planner", daemon=True)
        self._thread.start()

    def ask(self, question: Question) -> None:
        """See `Thinker`."""
        with self._changed:
            self._question = question
            self._changed.notify_all()

    def latest(self) -> Answer:
        """See `Thinker`."""
        with self._changed:
            self._changed.wait_for(lambda: self._answer is not None or self._failure is not None)
            if self._failure is not None:
                raise self._failure
            assert self._answer is not None
            return self._answer

    def close(self) -> None:
        """See `Thinker`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (question := self._next()) is not None:
                answer = self._mind.answer(question)
                with self._changed:
                    self._answer = answer
                    self._changed.notify_all()
        except BaseException as failure:  # every failure is raised again in the caller's thread, by `latest`
            with self._changed:
                self._failure = failure
                self._changed.notify_all()

    def _next(self) -> Question | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._question is not None)
            question, self._question = self._question, None
            return None if self._closed else question


class BackgroundActor(Actor):
    """An actor that waits for its planner only at the first plan of an episode."""

    def __init__(self, actor: Actor, thinker: Callable[[Mind], Thinker]) -> None:
        super().__init__(actor.planner_name, actor.planner_params, actor.policy)
        self._actor = actor
        self._make = thinker
        self._thinker: Thinker | None = None
        self._step = 0
        self.mind = Mind(actor)
        self.age = 0  # control steps since the start state of the last plan that `plan` returned

    def reset(self, seed: int) -> None:
        """See `Actor`; the thread starts at the first `plan`."""
        self.close()
        self._actor.reset(seed)
        self.planner_name, self.planner_params = self._actor.planner_name, self._actor.planner_params
        self._step = self.age = 0
        self.mind = Mind(self._actor)

    def switch(self, planner: str, params: Mapping[str, Any]) -> None:
        """Use another planner from the next search on."""
        self.planner_name, self.planner_params = planner, params

    def plan(self, problem: ImaginedProblem, budget: Budget) -> Plan[Trajectory]:
        """Submit `problem`, and return the latest finished plan, shifted to the present step.

        Beyond the plan's end, its last action is held. Cost and margins are those of the whole plan, from its own start
        state.
        """
        if self._thinker is None:
            self._thinker = self._make(self.mind)
        self._thinker.ask(Question(self._step, problem, budget, self.planner_name, self.planner_params))
        answer = self._thinker.latest()
        self.age = self._step - answer.step
        return later(answer.plan, self.age)

    def advance(self, steps: int) -> None:
        """See `Actor`."""
        self._step += steps

    def close(self) -> None:
        """End the thread after the search in progress."""
        if self._thinker is not None:
            self._thinker.close()
            self._thinker = None
