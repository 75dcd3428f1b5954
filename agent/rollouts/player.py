"""Runs an episode with the agent of a configuration."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, nullcontext

import numpy as np

from agent import build
from agent.agent import Agent, Decision
from agent.config.config import Config
from agent.config.resolved import Resolved, resolve
from agent.rollouts import episode, film
from agent.rollouts.episode import Step, Witness
from agent.rollouts.film import Film
from agent.rollouts.jobs import Played
from agent.rollouts.row import Steps, row_of
from agent.rollouts.trace import Tracer
from envs.environment import Environment
from envs.guard.world import GuardedWorld
from envs.task import Interface


def wired(resolved: Resolved) -> tuple[Agent, GuardedWorld]:
    """The agent of a configuration and its guarded world. Raises TelosError for what does not fit."""
    env = build.environment(resolved.config, task=resolved.task)
    try:
        return build.agent(resolved.config, env.task, env.interface), build.world(resolved.config, env)
    except BaseException:
        env.close()
        raise


def made(config: Config) -> tuple[Agent, GuardedWorld]:
    """See `wired`, from the configuration alone."""
    return wired(resolve(config))


def play(resolved: Resolved, index: int) -> Generator[Step, None, Played]:
    """Run one episode (see `jobs.Player`), with a video if the configuration asks for it and a GL library works."""
    return (yield from played(*wired(resolved), resolved.config, index))


def played(
    agent: Agent, world: GuardedWorld, config: Config, index: int, witness: Witness | None = None
) -> Generator[Step, None, Played]:
    """Run one episode with this agent in this world, and close the environment at the end.

    Args:
        witness: called with every decision, after the film.
    """
    with closing(world.env):
        limit = frame_limit(config, world.env.interface)
        taken, notice = _film(agent, world.env, config, index, limit)
        witnesses = [one for one in (None if taken is None else taken.take, witness) if one is not None]

        def witnessed(step: int, decision: Decision) -> None:
            for one in witnesses:
                one(step, decision)

        with closing(taken) if taken is not None else nullcontext():
            result = yield from episode.play(agent, world, *config.place(index), limit, witnessed)
            states = agent.memory.episodes[-1].states
            steps = Steps.of(result, states if len(states) else np.zeros(0), world.env.interface.control_period)
            row = row_of(config, agent, world, result, steps, index)
            video = taken.developed() if taken is not None else None
        notice = taken.notice if taken is not None else notice
        return Played(row, steps, video, "\n".join(filter(None, (result.notice, notice))))


def frame_limit(config: Config, interface: Interface) -> int:
    """The maximum number of control steps of an episode."""
    return min(config.frames or interface.frame_limit, interface.frame_limit)


def _film(agent: Agent, env: Environment, config: Config, index: int, limit: int) -> tuple[Film | None, str]:
    """The film of an episode; or None, and a notice for the user ("" if there is nothing to say)."""
    if not film.wanted(config.video, index):
        return None, ""
    if missing := film.missing():
        return None, missing if index == 0 else ""  # reported once per run
    tracer = None
    if config.video.trace:
        requests = (*env.task.requests, *agent.objective.requests, *agent.guardrails.requests)
        tracer = Tracer(config, env, requests)
    return Film(env, limit, tracer, later=config.real_time is not None), ""
