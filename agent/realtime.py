"""Planning while the world goes on: the planner works in a background thread, against a clock.

The world takes one control step per period of the clock. Each executes the latest finished plan at the index of its
age, in control steps since the state that it starts from; planning always begins at the newest state. Everything else
stays in the caller's thread: perception, composition with its digest check, the gate, memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from agent.actor.actor import Actor
from agent.agent import Agent, Pace
from agent.composition.problem import ImaginedProblem
from envs.errors import TelosError
from envs.task import Snapshot, TaskParams
from envs.trajectory import Trajectory
from planners.problem import Budget, Plan


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> float:
        """s"""
        ...

    def wait(self, until: float) -> None:
        """Return when `now` is `until` or later."""
        ...


class WallClock:
    """Real time."""

    def now(self) -> float:
        return time.perf_counter()

    def wait(self, until: float) -> None:
        while (left := until - self.now()) > 0:
            time.sleep(left)


class Ticks:
    """One tick per period. The world that is late does not hurry afterwards: its later ticks are late by as much."""

    def __init__(self, clock: Clock, period: float) -> None:
        """period: s between ticks."""
        self.clock = clock
        self.period = period
        self.passed = 0
        self._first = self._last = clock.now()

    def wait(self) -> None:
        """Until the next tick."""
        self._last = max(self._last + self.period, self.clock.now())
        self.clock.wait(self._last)
        self.passed += 1

    @property
    def seconds(self) -> float:
        """From the beginning to the last tick."""
        return self._last - self._first


@dataclass(frozen=True, eq=False)
class Question:
    """What is to be planned."""

    step: int  # of the episode, whose state the plan starts from
    problem: ImaginedProblem
    budget: Budget
    planner: str
    params: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Answer:
    """A finished plan."""

    step: int  # of the episode, whose state it starts from
    plan: Plan[Trajectory]


class Mind:
    """The planner and where it stands in the episode."""

    def __init__(self, actor: Actor) -> None:
        self.plans = 0
        self.seconds = 0.0  # wall clock of planning so far
        self._actor = actor
        self._step = 0

    def answer(self, question: Question) -> Answer:
        """Plan from the question's state; the last plan is advanced by the steps since, and the planner may change."""
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
    """Whoever answers questions in his own time."""

    def ask(self, question: Question) -> None:
        """Replaces the question that waits."""
        ...

    def latest(self) -> Answer:
        """The latest answer; waits for the first. Raises what planning raised."""
        ...

    def close(self) -> None:
        """Returns when no planning is under way any more; none begins again."""
        ...


class PlannerThread:
    """Answers the newest question, again and again, in a thread of its own, until it is closed or planning fails.

    Closing waits for the plan under way.
    """

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
        except BaseException as failure:  # whatever it is, it belongs to the caller
            with self._changed:
                self._failure = failure
                self._changed.notify_all()

    def _next(self) -> Question | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._question is not None)
            question, self._question = self._question, None
            return None if self._closed else question


class BackgroundActor(Actor):
    """An actor that never waits for its planner, but for the first plan of an episode."""

    def __init__(self, actor: Actor, thinker: Callable[[Mind], Thinker]) -> None:
        super().__init__(actor.planner_name, actor.planner_params, actor.policy)
        self._actor = actor
        self._make = thinker
        self._thinker: Thinker | None = None
        self._step = 0
        self.mind = Mind(actor)
        self.age = 0  # control steps, of the last plan handed out

    def reset(self, seed: int) -> None:
        """See `Actor`; the thread begins with the first plan."""
        self.close()
        self._actor.reset(seed)
        self.planner_name, self.planner_params = self._actor.planner_name, self._actor.planner_params
        self._step = self.age = 0
        self.mind = Mind(self._actor)

    def switch(self, planner: str, params: Mapping[str, Any]) -> None:
        """From the next plan on that begins."""
        self.planner_name, self.planner_params = planner, params

    def plan(self, problem: ImaginedProblem, budget: Budget) -> Plan[Trajectory]:
        """The latest finished plan from here on, its last action held beyond its end; planning goes on with `problem`.

        Cost and margins are those of the whole plan, from the state that it starts from.
        """
        if self._thinker is None:
            self._thinker = self._make(self.mind)
        self._thinker.ask(Question(self._step, problem, budget, self.planner_name, self.planner_params))
        answer = self._thinker.latest()
        self.age = self._step - answer.step
        actions = answer.plan.actions
        return replace(answer.plan, actions=actions[np.minimum(np.arange(len(actions)) + self.age, len(actions) - 1)])

    def advance(self, steps: int) -> None:
        """See `Actor`."""
        self._step += steps

    def close(self) -> None:
        """End the thread; waits for the plan under way."""
        if self._thinker is not None:
            self._thinker.close()
            self._thinker = None


class RealTimeAgent(Agent):
    """An `Agent` whose world waits for nobody. It begins to move when the first plan is there.

    While an episode runs, its world model belongs to the planner's thread: ask nothing of it, nor of
    `decision.problem`, before `finish` or `close`.
    """

    def __init__(
        self,
        *modules: Any,
        factor: float = 1.0,
        clock: Clock | None = None,
        thinker: Callable[[Mind], Thinker] = PlannerThread,
    ) -> None:
        """
        Args:
            modules: those of `Agent`.
            factor: simulated seconds per second of the clock.
            clock: real time where None.
            thinker: where planning happens.

        Raises:
            TelosError: a factor that is not above 0, or what `Agent` refuses.
        """
        if not 0 < factor < float("inf"):
            raise TelosError("real_time", factor, "simulated seconds per second, above 0")
        super().__init__(*modules)
        self.factor = factor
        self.clock = clock or WallClock()
        self.actor: BackgroundActor = BackgroundActor(self.actor, thinker)
        self._ticks: Ticks | None = None
        self._ages: list[float] = []

    def reset(self, seed: int = 0) -> None:
        """See `Agent`."""
        super().reset(seed)
        self._ticks = None
        self._ages = []

    def act(self, observation: Any, snapshot: Snapshot | None = None, params: TaskParams | None = None) -> np.ndarray:
        """See `Agent`; at its tick of the clock, by the plan that is there. Raises what planning raised."""
        if self._ticks is not None:
            self._ticks.wait()
        action = super().act(observation, snapshot, params)
        if self._ticks is None:
            self._ticks = Ticks(self.clock, self.model.dt / self.factor)
        assert self.decision is not None
        age = self.actor.age * self.model.dt
        self._ages.append(age)
        self.decision = replace(self.decision, age=age, plan_seconds=self.decision.plan.statistics.seconds)
        return action

    def finish(self, observation: Any, params: TaskParams | None = None) -> None:
        """See `Agent`."""
        self.close()
        super().finish(observation, params)

    def close(self) -> None:
        """See `Agent`."""
        self.actor.close()

    @property
    def pace(self) -> Pace | None:
        """How the episode went so far; None before its first decision."""
        if self._ticks is None:
            return None
        ticks, seconds = self._ticks, self._ticks.seconds
        return Pace(
            asked=self.factor,
            factor=ticks.passed * self.model.dt / seconds if seconds > 0 else float("nan"),
            age_median=float(np.median(self._ages)),
            age_p95=float(np.percentile(self._ages, 95)),
            plans=self.actor.mind.plans,
            planning=self.actor.mind.seconds,
        )
