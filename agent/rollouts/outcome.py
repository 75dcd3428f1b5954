"""The outcome of one control step in the real world, judged by the independent monitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.environment import Environment
from envs.errors import Diverged
from envs.guard.monitor import Monitor
from envs.task import Snapshot


@dataclass(frozen=True, eq=False)
class Outcome:
    """One control step of the world."""

    observation: Any  # the environment's own; the one before the step if the world's simulation diverged
    reward: float
    terminated: bool
    truncated: bool
    margin: np.ndarray  # (G,), as the monitor judged it
    violated: bool
    after: Snapshot  # the world after the step; the world before it if the simulation diverged
    divergence: str = ""  # why the world can no longer be simulated; "" if it can

    @property
    def ended(self) -> bool:
        """Whether the episode ends with this step."""
        return self.terminated or self.truncated or bool(self.divergence)

    def notice(self, episode: int, steps: int) -> str:
        """The message for the user if the simulation diverged in this step, the last of `steps`; "" otherwise."""
        return f"episode {episode} ended at step {steps}: {self.divergence}" if self.divergence else ""


def advance(env: Environment, monitor: Monitor, before: Snapshot, observation: Any, action: np.ndarray) -> Outcome:
    """Take one control step and judge it.

    A step in which the world's simulation diverges has reward 0. It counts as a violation if there is any guardrail,
    because the monitor cannot verify where it led.

    Args:
        before: the world before the step.
        observation: the environment's observation before the step.
        action: (A,) in [-1,1].

    Raises:
        TelosError: the environment refuses the action.
    """
    try:
        seen, reward, terminated, truncated, _ = env.step(action)
    except Diverged as error:
        rules = len(monitor.guardrails)
        return Outcome(observation, 0.0, False, False, np.full(rules, -np.inf), rules > 0, before, error.given)
    after = env.snapshot()
    found = monitor.judge(before, env.control(), after)
    return Outcome(seen, reward, terminated, truncated, found.margin.numpy(), not found.safe, after)
