"""The test of an agent that learns: goals from held-out starts, judged on the world's state."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from agent import build
from agent.config.config import Config, GoalConfig
from agent.learning.collect import Collector
from agent.learning.goals import GoalPair, goal_pairs
from agent.learning.recipe import GoalsConfig
from agent.rollouts import episode
from agent.rollouts.episode import seeds_of
from agent.runs import statistics
from agent.runs.statistics import Estimate
from envs.guard.world import GuardedWorld
from worldmodels.model import WorldModel


@dataclass(frozen=True, eq=False)
class Attempt:
    """What became of one goal."""

    reached: np.ndarray  # (T,) bool, whether the goal held after each step
    violated: bool  # whether a guardrail was violated at some step
    decision_ms: list[float]  # from percept to action
    plan_ms: list[float] = field(default_factory=list)  # of the decisions that were planned anew
    states: list[np.ndarray] = field(default_factory=list)  # (S,) each, raw, after every step


class Attempts(Protocol):
    """Tries to reach a goal from its start within a number of steps. The world's goal is set already."""

    def __call__(self, world: GuardedWorld, pair: GoalPair, seed: int, steps: int) -> Attempt: ...


def planning(config: Config, model: WorldModel | None, shown: bool = True) -> Attempts:
    """The agent of a configuration.

    Args:
        model: it plans with this model; with the configuration's where None.
        shown: whether it is given the goal's observation, and not the signals by which it is judged.
    """

    def attempt(world: GuardedWorld, pair: GoalPair, seed: int, steps: int) -> Attempt:
        asked = config if shown else config.model_copy(update={"goal": GoalConfig(near=pair.judged.near)})
        agent = build.agent(asked, world.env.task, world.env.interface, model=model)
        agent.goal = pair.shown if shown else pair.judged
        played = episode.run(agent, world, seed, pair.index, steps).steps
        return Attempt(
            np.array([step.reached for step in played]),
            any(step.violated for step in played),
            [step.decision_ms for step in played],
            [step.plan_ms for step in played if step.plan_ms > 0],
            [step.state for step in played],
        )

    return attempt


def acting(collector: Collector) -> Attempts:
    """A collector that knows of no goal: the floor that any agent must be above."""

    def attempt(world: GuardedWorld, pair: GoalPair, seed: int, steps: int) -> Attempt:
        *starts, drawn = seeds_of(seed, pair.index)
        percept, reached, violated, times = world.reset(*starts), [], False, []
        collector.begin(drawn)
        for _ in range(steps):
            begun = time.perf_counter()
            action = collector.act(percept)
            times.append(1e3 * (time.perf_counter() - begun))
            percept, judged = world.step(action)
            reached.append(judged.reached)
            violated |= judged.violated
            if judged.ended:
                break
        return Attempt(np.array(reached), violated, times)

    return attempt


@dataclass(frozen=True)
class Score:
    """The outcome of all starts at one distance."""

    ahead: int  # control steps in which random actions reached the goals
    starts: int
    success: Estimate  # share of starts from which the goal was reached, with Wilson's 95 % interval
    stayed: Estimate  # share at which it still held after the last step
    steps: float  # control steps to success, the mean over successes; NaN without any
    violations: int  # episodes with a step that violated a guardrail
    plan_ms: float  # median, of the decisions that were planned anew
    decision_ms: float  # the mean, from percept to action, over all decisions


def score(world: GuardedWorld, attempts: Attempts, goals: GoalsConfig, ahead: int, seed: int) -> Score:
    """One attempt for each start of `goal_pairs`; starts and goals are the same for everyone."""
    found: list[Attempt] = []
    for pair in list(goal_pairs(world, goals, ahead, seed)):
        world.goal = pair.judged
        try:
            found.append(attempts(world, pair, seed, math.ceil(goals.budget * ahead)))
        finally:
            world.goal = None
    firsts = [int(one.reached.argmax()) + 1 for one in found if one.reached.any()]
    return Score(
        ahead,
        len(found),
        statistics.rate(len(firsts), len(found)),
        statistics.rate(sum(bool(one.reached[-1]) for one in found), len(found)),
        float(np.mean(firsts)) if firsts else math.nan,
        sum(one.violated for one in found),
        float(np.median([ms for one in found for ms in one.plan_ms] or [0.0])),
        float(np.mean([ms for one in found for ms in one.decision_ms])),
    )
