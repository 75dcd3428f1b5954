"""Plays an episode with the agent of a configuration."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from agent import build, episode
from agent.agent import Agent
from agent.config import Config
from agent.episode import Step
from agent.rollouts import Played
from agent.row import Steps, row_of
from envs import render
from envs.environment import Environment
from envs.monitor import Monitor
from envs.task import Interface

MAX_FRAMES = 450  # of a video; a longer episode is shown faster


def made(config: Config) -> tuple[Agent, Environment, Monitor]:
    """Agent, world and judge of a configuration, afresh. Raises TelosError for what does not fit."""
    env = build.environment(config)
    try:
        return build.agent(config, env.task, env.interface), env, build.monitor(config, env)
    except BaseException:
        env.close()
        raise


def play(config: Config, index: int) -> Generator[Step, None, Played]:
    """One episode; see `agent.rollouts.Player`. The first one is recorded where a GL library works."""
    return (yield from played(*made(config), config, index))


def played(
    agent: Agent, env: Environment, monitor: Monitor, config: Config, index: int
) -> Generator[Step, None, Played]:
    """One episode with this agent, in this world, which is closed at its end."""
    with closing(env):
        limit = frame_limit(config, env.interface)
        every, rate = _frame_rate(limit, env.interface.control_period)
        wanted = index == 0 and config.video
        notice = _missing(env) if wanted else ""
        every = every if wanted and not notice else 0
        result = yield from episode.play(agent, env, monitor, config.seed, index, limit, every)
        steps = Steps.of(result, agent.memory.episodes[-1].states, env.interface.control_period)
        row = row_of(config, agent, monitor.guardrails, result, steps, index)
        video = None
        if result.frames:
            try:
                video = render.encoded(result.frames, rate)
            except (OSError, RuntimeError) as error:  # a run goes on without
                notice = f"no video: {str(error).strip().split(chr(10))[0]}"
        return Played(row, steps, video, notice)


def frame_limit(config: Config, interface: Interface) -> int:
    """Control steps of an episode, at most."""
    return min(config.frames or interface.frame_limit, interface.frame_limit)


def _frame_rate(frames: int, period: float) -> tuple[int, float]:
    """Every how many control steps a frame is rendered, and frames per second of the video."""
    every = max(1, round(1 / (render.FRAMES_PER_SECOND * period)), -(-frames // MAX_FRAMES))
    return every, min(float(render.FRAMES_PER_SECOND), 1 / (every * period))


def _missing(env: Environment) -> str:
    """Why no video can be made here; "" where one can."""
    missing = ""
    if render.chosen() is None:
        missing = "no GL library"
    elif render.ffmpeg() is None:
        missing = "imageio-ffmpeg is not installed"
    else:
        try:
            env.render()
        except Exception as error:  # whatever a GL driver comes up with
            missing = f"rendering failed ({error})"
    return f"no video: {missing}; `telos doctor` says more" if missing else ""
