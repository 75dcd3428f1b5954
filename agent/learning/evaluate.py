"""The test of an agent that learns: goals from held-out starts, judged on the world's state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from agent import build
from agent.agent import Agent
from agent.config.config import Config, GoalConfig
from agent.learned import Learned
from agent.learning.collect import Collector, turns
from agent.learning.goals import GoalPair, goal_pairs
from agent.learning.recipe import GoalsConfig
from agent.rollouts import episode
from agent.runs import statistics
from agent.runs.statistics import Estimate
from envs.guard.reached import GoalCheck
from envs.guard.world import GuardedWorld
from envs.task import Snapshot
from worldmodels.model import WorldModel


@dataclass(frozen=True, eq=False)
class Attempt:
    """What became of one goal."""

    states: list[np.ndarray]  # (S,) each, raw, after every step
    violated: bool  # whether a guardrail was violated at some step
    decision_ms: list[float]  # from percept to action
    plan_ms: list[float] = field(default_factory=list)  # of the decisions that were planned anew


class Attempts(Protocol):
    """Tries to reach a goal from its start within a number of steps; percepts say nothing of it."""

    def __call__(self, world: GuardedWorld, pair: GoalPair, seed: int, steps: int) -> Attempt: ...


def planning(config: Config, model: WorldModel | None, shown: bool = True, learned: Learned | None = None) -> Attempts:
    """The agent of a configuration.

    Args:
        model: it plans with this model; with the configuration's where None.
        learned: cost and actor that were learned with the model; the configuration's where None.
        shown: whether it is given the goal's observation, and not the signals by which it is judged.
    """

    def attempt(world: GuardedWorld, pair: GoalPair, seed: int, steps: int) -> Attempt:
        asked = config if shown else config.model_copy(update={"goal": GoalConfig(near=pair.judged.near)})
        agent = build.agent(asked, world.env.task, world.env.interface, model=model, learned=learned)
        agent.goal = pair.shown if shown else pair.judged
        return attempted(agent, world, pair, seed, steps)

    return attempt


def attempted(agent: Agent, world: GuardedWorld, pair: GoalPair, seed: int, steps: int) -> Attempt:
    """The attempt of an agent that was told the goal."""
    played = episode.run(agent, world, seed, pair.index, steps).steps
    return Attempt(
        [step.state for step in played],
        any(step.violated for step in played),
        [step.decision_ms for step in played],
        [step.plan_ms for step in played if step.plan_ms > 0],
    )


def acting(collector: Collector) -> Attempts:
    """A collector that knows of no goal: the floor that any agent must be above."""

    def attempt(world: GuardedWorld, pair: GoalPair, seed: int, steps: int) -> Attempt:
        states, violated, times = [], False, []
        for judged, spent in turns(world, collector, seed, pair.index, steps):
            states.append(world.state)
            violated |= judged.violated
            times.append(spent)
        return Attempt(states, violated, times)

    return attempt


@dataclass(frozen=True)
class Score:
    """The outcome of all starts at one distance."""

    ahead: int  # control steps in which random actions reached the goals
    starts: int
    success: Estimate  # share of starts from which the goal was reached, with Wilson's 95 % interval
    stayed: Estimate  # share at which it still held after the last step
    steps: float | None  # control steps to success, the mean over successes; None without any
    violations: int  # episodes with a step that violated a guardrail
    plan_ms: float  # median, of the decisions that were planned anew
    decision_ms: float  # the mean, from percept to action, over all decisions


def reached(world: GuardedWorld, pair: GoalPair, attempt: Attempt) -> np.ndarray:
    """Whether the goal held after each step of an attempt in this world, (T,) bool, judged on its raw states."""
    check = GoalCheck(world.env.task, world.env.interface, pair.judged, world.env.variant)
    params = world.env.snapshot().params
    return np.array([check(Snapshot(state, params), None) for state in attempt.states])


@dataclass(frozen=True, eq=False)
class Tried:
    """One start's attempt."""

    pair: GoalPair
    attempt: Attempt
    hits: np.ndarray  # (T,) bool, whether the goal held after each step


def score(world: GuardedWorld, attempts: Attempts, goals: GoalsConfig, ahead: int, seed: int) -> Score:
    """One attempt for each start of `goal_pairs`; starts and goals are the same for everyone."""
    return scored(ahead, list(tried(world, attempts, goals, ahead, seed)))


def tried(world: GuardedWorld, attempts: Attempts, goals: GoalsConfig, ahead: int, seed: int) -> Iterator[Tried]:
    """The attempts of all starts."""
    for pair in list(goal_pairs(world, goals, ahead, seed)):
        attempt = attempts(world, pair, seed, math.ceil(goals.budget * ahead))
        yield Tried(pair, attempt, reached(world, pair, attempt))


def scored(ahead: int, found: Sequence[Tried]) -> Score:
    """The score of what `tried` gave."""
    firsts = [int(one.hits.argmax()) + 1 for one in found if one.hits.any()]
    attempts = [one.attempt for one in found]
    return Score(
        ahead,
        len(found),
        statistics.rate(len(firsts), len(found)),
        statistics.rate(sum(bool(one.hits[-1]) for one in found), len(found)),
        float(np.mean(firsts)) if firsts else None,
        sum(attempt.violated for attempt in attempts),
        float(np.median([ms for attempt in attempts for ms in attempt.plan_ms] or [0.0])),
        float(np.mean([ms for attempt in attempts for ms in attempt.decision_ms])),
    )
