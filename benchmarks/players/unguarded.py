"""The unguarded twin of an agent: the same modules, with no guardrails in planning and none at the gate.

It exists here alone, to show what a guardrail is for. The monitor still scores it by the twin's rules.
"""

from __future__ import annotations

from collections.abc import Generator

from agent import build
from agent.agent import Agent
from agent.config.config import Config
from agent.config.resolved import Resolved
from agent.rollouts import player
from agent.rollouts.episode import Step
from agent.rollouts.jobs import Played
from envs.environment import Environment

PLAYER = "benchmarks.players.unguarded:play"


def unguarded_agent(config: Config, env: Environment) -> Agent:
    """What `agent.build.agent` makes of this config, had nobody set any rule."""
    bare = config.model_copy(update={"guardrails": (), "back_up": None})
    return build.agent(bare, env.task, env.interface)


def play(resolved: Resolved, index: int) -> Generator[Step, None, Played]:
    """One episode; see `agent.rollouts.jobs.Player`."""
    config = resolved.config
    env = build.environment(config, task=resolved.task)
    return (yield from player.played(unguarded_agent(config, env), env, build.monitor(config, env), config, index))
