"""Goals that can be reached: where random actions lead from an episode's start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from agent.learning.collect import RandomActions
from agent.learning.recipe import GoalsConfig
from agent.rollouts.episode import seeds_of
from envs.errors import TelosError
from envs.goal import Goal, Near
from envs.guard.reached import GoalCheck
from envs.guard.world import GuardedWorld
from envs.percept import features
from envs.physics.batch import BatchPhysics
from envs.physics.signals import request
from envs.task import Snapshot

KEY = 0x60A1  # of the random actions, apart from those of collectors
MOST_TRIED = 100  # starts in a row without a goal that is still to be reached


@dataclass(frozen=True, eq=False)
class GoalPair:
    """An episode's start, and a goal for it."""

    index: int  # of the episode, which its start follows from
    ahead: int  # control steps in which random actions reached it
    judged: Goal  # by signals of the world's state
    shown: Goal  # the observation there, which the agent is given
    state: np.ndarray  # (S,), raw, there


def goal_pairs(world: GuardedWorld, settings: GoalsConfig, ahead: int, seed: int) -> Iterator[GoalPair]:
    """`settings.starts` pairs of start and goal, all of them unsolved at the start.

    A goal that the guardrails forbid is left out. All of it follows from `seed`, `ahead` and the episode's index.

    Raises:
        TelosError: a signal that the model lacks, or hardly any start from which the goal is still to be reached.
    """
    env, actions = world.env, RandomActions(world.env.interface.action_size)
    physics = BatchPhysics(
        env.task.spec, [request(name) for name in settings.within], env.interface.control_period, threads=1
    )
    found, index, failed = 0, 0, 0
    while found < settings.starts:
        *starts, drawn = seeds_of(seed, index)
        percept = world.reset(*starts)
        start, observation = world.snapshot, percept.observation
        assert start is not None
        actions.begin(int(np.random.SeedSequence([drawn, ahead, KEY]).generate_state(1)[0]))
        for _ in range(ahead):
            observation, *_ = env.step(actions.act(percept))
        observation, there = env.still() if settings.still else (observation, env.snapshot())
        judged = Goal(tuple(_nears(physics, settings, there)))
        unsolved = not GoalCheck(env.task, env.interface, judged)(start, percept.observation)
        if unsolved and world.monitor.judge_reset(there):
            yield GoalPair(index, ahead, judged, Goal(observation=features(observation)), there.state)
            found, failed = found + 1, 0
        else:
            failed += 1
        if failed == MOST_TRIED:
            given = f"{failed} starts in a row that are solved already, or whose goals the guardrails forbid"
            raise TelosError("evaluate.goals", given, "goals farther ahead")
        index += 1


def _nears(physics: BatchPhysics, settings: GoalsConfig, there: Snapshot) -> Iterator[Near]:
    physics.set_params(there.params)
    signals = physics.look(there.state)
    if signals is None:
        raise TelosError("evaluate.goals", "a goal that cannot be simulated", "fewer steps ahead")
    for name, within in settings.within.items():
        value = signals.state[name][0, 0]
        yield Near(
            signal=name,
            target=tuple(torch.atleast_1d(value).tolist()),
            within=within,
            period=settings.periods.get(name),
        )
