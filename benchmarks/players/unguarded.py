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
from envs.guard.world import GuardedWorld

PLAYER = "benchmarks.players.unguarded:play"


def unguarded(config: Config, env: Environment) -> tuple[Agent, GuardedWorld]:
    """The agent of this config without its guardrails and back-up controller, and its world, whose gate has none."""
    bare = config.model_copy(update={"guardrails": (), "back_up": None})
    agent = build.agent(bare, env.task, env.interface)
    gate = build.gate(bare, env.task, env.interface)
    return agent, GuardedWorld(env, build.monitor(config, env), gate, agent.perception.privileged)


def play(resolved: Resolved, index: int) -> Generator[Step, None, Played]:
    """One episode; see `agent.rollouts.jobs.Player`."""
    env = build.environment(resolved.config, task=resolved.task)
    return (yield from player.played(*unguarded(resolved.config, env), resolved.config, index))
