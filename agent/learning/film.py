"""The film of a trained agent: episodes towards goals, each beside the pose that it was shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import numpy as np

from agent import build
from agent.config.config import Config
from agent.learning.evaluate import Attempts
from agent.learning.goals import goal_pairs
from agent.learning.recipe import GoalsConfig
from agent.rollouts import film
from envs import render
from envs.guard.world import GuardedWorld

EPISODES = 3


def filmed(config: Config, attempts: Attempts, goals: GoalsConfig, seed: int) -> tuple[bytes | None, str]:
    """The film of these attempts as MP4, and a notice for the user; None where none can be made on this machine.

    Left is the world, right the goal. An error here ends the film, never the training.
    """
    if missing := film.missing():
        return None, missing
    encoder: render.Encoder | None = None
    try:
        with closing(build.environment(config)) as env:
            steps = math.ceil(goals.budget * max(goals.ahead))
            every, rate = film.frame_rate(EPISODES * steps, env.interface.control_period)
            for frame in _frames(build.world(config, env), attempts, goals, seed, every):
                encoder = encoder or render.Encoder(frame.shape[1], frame.shape[0], rate)
                encoder.add(np.ascontiguousarray(frame))
        return (None if encoder is None else encoder.finished()), ""
    except Exception as error:  # GL drivers and ffmpeg raise many types
        if encoder is not None:
            encoder.close()
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        return None, f"no video: {said}; `telos doctor` says more"


def _frames(world: GuardedWorld, attempts: Attempts, goals: GoalsConfig, seed: int, every: int) -> Iterator[np.ndarray]:
    env, ahead = world.env, max(goals.ahead)
    for pair in list(islice(goal_pairs(world, goals, ahead, seed), EPISODES)):
        states = attempts(world, pair, seed, math.ceil(goals.budget * ahead)).states
        wanted = env.show(pair.state)
        for state in states[::every]:
            yield np.concatenate([env.show(state), wanted], 1)
