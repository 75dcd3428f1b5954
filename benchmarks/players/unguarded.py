"""The unguarded twin of an agent: the same modules, with no guardrails in planning and none at the gate.

It exists only here, to show the effect of a guardrail. The monitor still scores it by the guarded agent's rules.
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
    """The agent that `agent.build.agent` makes of this config without its guardrails and back-up controller."""
    bare = config.model_copy(update={"guardrails": (), "back_up": None})
    return build.agent(bare, env.task, env.interface)


def play(resolved: Resolved, index: int) -> Generator[Step, None, Played]:
    """One episode; see `agent.rollouts.jobs.Player`."""
    config = resolved.config
    env = build.environment(config, task=resolved.task)
    return (yield from player.played(unguarded_agent(config, env), env, build.monitor(config, env), config, index))
