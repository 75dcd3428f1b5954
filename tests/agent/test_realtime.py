"""Planning in the background: the latest finished plan acts, at the index of its age.

Only the tests of the command line wait for a real clock, and no test asserts a duration.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from agent import build
from agent.actor.actor import Actor
from agent.actor.background import Answer, BackgroundActor, Mind, PlannerThread, Question, Thinker
from agent.actor.clock import Ticks
from agent.agent import Agent, Decision
from agent.config.config import Config
from agent.realtime import RealTimeAgent
from agent.rollouts import episode
from agent.rollouts.episode import EpisodeResult
from agent.rollouts.row import Row
from envs.environment import Environment
from envs.errors import TelosError
from envs.guard.gate import Gate
from envs.percept import Percept
from planners.icem import Icem
from planners.problem import Plan

CARTPOLE = "dm_control/cartpole-swingup-v0"
RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -0.9, "upper": 0.9, "unit": "m"}
FRAMES, HORIZON = 9, 4


class FakeClock:
    """A clock that advances only in `wait` and `work`."""

    def __init__(self) -> None:
        self.time = 100.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, until: float) -> None:
        self.waits.append(until)
        self.time = max(self.time, until)


class Later:
    """A thinker whose plans are ready `delay` questions after it began; it begins a plan when it is free."""

    def __init__(self, mind: Mind, delay: int) -> None:
        self.mind, self.delay = mind, delay
        self.busy: tuple[int, Question] | None = None
        self.done: Answer | None = None
        self.closed = False
        self.begun: list[int] = []

    def ask(self, question: Question) -> None:
        if self.busy is not None and question.step >= self.busy[0]:
            self.done = self.mind.answer(self.busy[1])
            self.busy = None
        if self.done is None:
            self.done = self.mind.answer(question)
            self.begun.append(question.step)
        elif self.busy is None:
            self.busy = question.step + self.delay, question
            self.begun.append(question.step)

    def latest(self) -> Answer:
        assert self.done is not None
        return self.done

    def close(self) -> None:
        self.closed = True


def config(**more: Any) -> Config:
    return Config.model_validate(
        {
            "task": CARTPOLE,
            "planner": {"horizon": HORIZON, "budget": {"evaluations": 24}, "params": {"knots": 4}},
            "guardrails": [RAIL],
            "threads": 1,
            **more,
        }
    )


def real_time(
    monkeypatch: pytest.MonkeyPatch, thinker: Callable[[Mind], Thinker], factor: float = 1.0, **more: Any
) -> tuple[RealTimeAgent, Environment, FakeClock]:
    """An agent with a fake clock."""
    clock = FakeClock()
    made = partial(RealTimeAgent, factor=factor, clock=clock, thinker=thinker)
    monkeypatch.setattr(build, "_agent_of", lambda given: made)
    given = config(**more)
    env = build.environment(given)
    agent = build.agent(given, env.task, env.interface)
    assert isinstance(agent, RealTimeAgent)
    return agent, env, clock


def played(agent: Agent, env: Environment, frames: int = FRAMES) -> EpisodeResult:
    with closing(env):
        return episode.run(agent, build.world(config(), env), seed=0, episode=0, frames=frames)


def plans_made(monkeypatch: pytest.MonkeyPatch) -> list[Plan[Any]]:
    """A list that collects every plan as its planner published it."""
    made: list[Plan[Any]] = []
    plan = Actor.plan

    def noted(self: Actor, *arguments: Any) -> Plan[Any]:
        made.append(plan(self, *arguments))
        return made[-1]

    monkeypatch.setattr(Actor, "plan", noted)
    return made


# --- which action acts -------------------------------------------------------------------------------------


def test_a_plan_acts_at_the_index_of_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    made, decided = plans_made(monkeypatch), []
    agent, env, _ = real_time(monkeypatch, partial(Later, delay=3))
    act = agent.act

    def noted(percept: Percept) -> Decision:
        decided.append(act(percept))
        return decided[-1]

    monkeypatch.setattr(agent, "act", noted)
    result = played(agent, env)
    # After the first plan at 0 the thinker is free: it plans from 1 to 4, and again from 4 to 7.
    starts = [0, 0, 0, 0, 1, 1, 1, 4, 4]
    plan_of = {0: made[0], 1: made[1], 4: made[2]}
    ages = [step - start for step, start in enumerate(starts)]
    assert [round(step.plan_age / agent.model.dt) for step in result.steps] == ages
    assert max(ages) >= HORIZON, "the test needs a plan that is used up"
    for step, start, age, decision in zip(result.steps, starts, ages, decided, strict=True):
        assert not step.intervened
        assert decision.age == step.plan_age
        assert_array_equal(step.action, plan_of[start].actions[min(age, HORIZON - 1)])
        assert step.plan_cost == plan_of[start].cost
        assert step.plan_ms == 1e3 * plan_of[start].statistics.seconds
    assert agent.pace is not None
    assert agent.pace.age_median == pytest.approx(np.median(ages) * agent.model.dt)
    assert agent.pace.age_p95 == pytest.approx(np.percentile(ages, 95) * agent.model.dt)


def test_the_planner_is_told_how_far_the_world_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    advanced: list[int] = []
    advance = Icem.advance

    def noted(self: Icem, state: Any, steps: int) -> Any:
        advanced.append(steps)
        return advance(self, state, steps)

    monkeypatch.setattr(Icem, "advance", noted)
    agent, env, _ = real_time(monkeypatch, partial(Later, delay=3))
    played(agent, env)
    assert advanced == [0, 1, 3]


def test_planning_begins_at_the_newest_state(monkeypatch: pytest.MonkeyPatch) -> None:
    thinkers: list[Later] = []

    def later(mind: Mind) -> Later:
        thinkers.append(Later(mind, 2))
        return thinkers[-1]

    agent, env, _ = real_time(monkeypatch, later)
    played(agent, env)
    (thinker,) = thinkers
    assert thinker.begun == [0, 1, 3, 5, 7]
    assert thinker.closed


def test_without_delay_the_episode_is_that_of_lock_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Instant(Later):
        def ask(self, question: Question) -> None:
            self.done = self.mind.answer(question)

    env = build.environment(config())
    lock_step = played(build.agent(config(), env.task, env.interface), env)
    agent, env, _ = real_time(monkeypatch, partial(Instant, delay=0))
    found = played(agent, env)
    assert [s.action.tobytes() for s in found.steps] == [s.action.tobytes() for s in lock_step.steps]
    assert [s.plan_cost for s in found.steps] == [s.plan_cost for s in lock_step.steps]
    assert found.physics_steps == lock_step.physics_steps
    assert lock_step.pace is None
    assert found.pace is not None
    assert found.pace.plans == FRAMES
    assert found.pace.age_p95 == 0


def test_the_gate_checks_every_action(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, env, _ = real_time(monkeypatch, partial(Later, delay=3))
    checked: list[np.ndarray] = []
    check = Gate.check

    def noted(self: Gate, start: Any, prefix: np.ndarray) -> Any:
        checked.append(prefix[0].copy())
        verdict = check(self, start, prefix)
        return type(verdict)(False, "not today", verdict.back_up) if len(checked) == 4 else verdict

    monkeypatch.setattr(Gate, "check", noted)
    result = played(agent, env)
    assert len(checked) == FRAMES
    assert [step.intervened for step in result.steps] == [False, False, False, True, *[False] * 5]
    for step, action in zip(result.steps, checked, strict=True):
        assert step.intervened or step.action.tobytes() == action.tobytes()


def test_a_rule_of_the_configurator_changes_the_planner_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[str] = []
    plan = Actor.plan

    def noted(self: Actor, *arguments: Any) -> Plan[Any]:
        planned.append(self.planner_name)
        return plan(self, *arguments)

    monkeypatch.setattr(Actor, "plan", noted)
    rule = {"quantity": "step", "above": 2.5, "planner": "random_shooting"}
    agent, env, _ = real_time(monkeypatch, partial(Later, delay=1), configurator={"rules": [rule]})
    played(agent, env)
    assert planned[:2] == ["icem", "icem"]
    assert planned[-1] == "random_shooting"


# --- time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_the_world_goes_by_the_clock(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    agent, env, clock = real_time(monkeypatch, partial(Later, delay=3), factor)
    result = played(agent, env)
    period = agent.model.dt / factor
    assert clock.waits == pytest.approx([100 + period * n for n in range(1, FRAMES)])
    assert result.pace is not None
    assert result.pace.asked == factor
    assert result.pace.factor == pytest.approx(factor)


def test_a_late_world_does_not_hurry_afterwards() -> None:
    clock = FakeClock()
    ticks = Ticks(clock, 1.0)
    ticks.wait()
    clock.time += 2.5  # the next tick is 1.5 late
    for _ in range(3):
        ticks.wait()
    assert clock.waits == [101.0, 103.5, 104.5, 105.5]
    assert ticks.passed / ticks.seconds == pytest.approx(4 / 5.5)


def test_an_episode_of_one_decision_has_no_pace_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, env, _ = real_time(monkeypatch, partial(Later, delay=1))
    assert agent.pace is None
    found = played(agent, env, 1).pace
    assert found is not None
    assert np.isnan(found.factor)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_time_goes_forward(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    with pytest.raises(TelosError, match="real_time: given"):
        real_time(monkeypatch, partial(Later, delay=1), factor)


# --- the thread --------------------------------------------------------------------------------------------


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "planner"]


class Held:
    """A mind that answers only when the test allows it."""

    plans, seconds = 0, 0.0

    def __init__(self) -> None:
        self.began, self.let = threading.Semaphore(0), threading.Semaphore(0)
        self.answered: list[Any] = []

    def answer(self, question: Any) -> Any:
        self.began.release()
        self.let.acquire()
        if isinstance(question, Exception):
            raise question
        self.answered.append(question)
        return question


def held() -> tuple[Held, Any]:
    mind: Any = Held()
    return mind, PlannerThread(mind)


def test_the_thread_answers_the_newest_question() -> None:
    mind, thread = held()
    thread.ask("first")
    mind.began.acquire()
    thread.ask("overtaken")
    thread.ask("newest")
    mind.let.release()
    assert thread.latest() == "first"
    mind.began.acquire()  # it has begun the next
    mind.let.release()
    thread.ask("last")
    mind.began.acquire()
    assert thread.latest() == "newest"
    mind.let.release()
    thread.close()
    assert mind.answered == ["first", "newest", "last"], "each once, and none that was overtaken"
    assert not running()


def test_closing_waits_for_the_plan_under_way_and_begins_no_other() -> None:
    mind, thread = held()
    thread.ask("first")
    mind.began.acquire()
    thread.ask("second")
    closer = threading.Thread(target=thread.close)
    closer.start()
    assert running()
    while not thread._closed:  # the thread must not start the second plan before it is told to close
        pass
    mind.let.release()
    closer.join()
    assert mind.answered == ["first"]
    assert not running()


def test_what_planning_raises_is_raised_by_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    plan = Actor.plan

    def failing(self: Actor, *arguments: Any) -> Plan[Any]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise ZeroDivisionError("of the planner")
        return plan(self, *arguments)

    monkeypatch.setattr(Actor, "plan", failing)
    agent, env, _ = real_time(monkeypatch, PlannerThread)
    with pytest.raises(ZeroDivisionError, match="of the planner"):
        played(agent, env, 1_000)
    assert not running()


def test_the_first_plan_may_fail_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Actor, *arguments: Any) -> Plan[Any]:
        raise ZeroDivisionError("at once")

    agent, env, _ = real_time(monkeypatch, PlannerThread)
    monkeypatch.setattr(Actor, "plan", failing)
    with pytest.raises(ZeroDivisionError, match="at once"):
        played(agent, env)
    assert not running()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_episode_that_is_broken_off_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    agent, env, clock = real_time(monkeypatch, PlannerThread)

    def interrupted(until: float) -> None:
        assert running()
        raise stop

    monkeypatch.setattr(clock, "wait", interrupted)
    with pytest.raises(stop):
        played(agent, env)
    assert not running()


def test_an_abandoned_stream_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, env, _ = real_time(monkeypatch, PlannerThread)
    stream = episode.play(agent, build.world(config(), env), 0, 0, FRAMES)
    next(stream)
    assert running()
    stream.close()
    env.close()
    assert not running()


def test_ones_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    answer = Mind.answer

    def noted(self: Mind, question: Question) -> Answer:
        begun.append(question.step)
        return answer(self, question)

    monkeypatch.setattr(Mind, "answer", noted)
    agent, env, _ = real_time(monkeypatch, PlannerThread)
    world = build.world(config(), env)
    for seed in (0, 1):
        percept = world.reset(seed)
        agent.reset(seed)
        assert not running()
        for _ in range(3):
            percept, judged = world.step(agent.act(percept).action)
            agent.remember(judged)
        assert len(running()) == 1
        agent.close()
        assert begun[0] == 0
        assert begun == sorted(set(begun)), "no question is answered twice"
        begun.clear()
    agent.finish(percept)
    env.close()
    assert not running()


# --- from the command line ---------------------------------------------------------------------------------


def test_rows_say_how_a_run_was_paced(telos: Callable[..., Any], tmp_path: Path) -> None:
    fast = (
        "--frames",
        5,
        "--planner.horizon",
        6,
        "--planner.budget.evaluations",
        8,
        "--video",
        "false",
        "--threads",
        1,
    )
    done = telos("run", "--task", CARTPOLE, *fast, "--real-time", 50.0, "--out", tmp_path / "real")
    assert done.status == 0, done.err
    (line,) = (tmp_path / "real" / "episodes.jsonl").read_text().splitlines()
    row = Row.parse(line, "row")
    assert set(row.real_time) == {"asked", "factor", "age_median", "age_p95", "plans", "planning"}
    assert row.real_time["asked"] == 50
    assert row.real_time["plans"] >= 1
    assert row.numbers()["real_time.asked"] == 50
    done = telos("run", "--task", CARTPOLE, *fast, "--out", tmp_path / "lock")
    assert done.status == 0, done.err
    (line,) = (tmp_path / "lock" / "episodes.jsonl").read_text().splitlines()
    assert "real_time" not in line
    assert Row.parse(line, "row").real_time == {}


def test_an_episode_begins_with_the_planner_it_was_given() -> None:
    """This holds whichever planner a rule requested last."""
    actor = BackgroundActor(Actor("icem", {}), PlannerThread)
    actor.switch("random_shooting", {})
    actor.reset(0)
    assert (actor.planner_name, actor.planner_params) == ("icem", {})
