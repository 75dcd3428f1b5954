"""The agent without a warm start: it plans every decision as if it were the first. It exists only here."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from agent.actor.actor import Actor
from agent.config.resolved import Resolved
from agent.rollouts import player
from agent.rollouts.episode import Step
from agent.rollouts.jobs import Played

PLAYER = "benchmarks.players.cold:play"


class ColdActor(Actor):
    """Resets the planner after every decision, each time with a new random seed."""

    def reset(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        super().reset(seed)

    def advance(self, steps: int) -> None:
        super().reset(int(self._random.integers(2**31)))


def play(resolved: Resolved, index: int) -> Generator[Step, None, Played]:
    """One episode; see `agent.rollouts.jobs.Player`."""
    agent, world = player.wired(resolved)
    agent.actor = ColdActor(resolved.config.planner.kind, resolved.config.planner.params)
    return (yield from player.played(agent, world, resolved.config, index))
