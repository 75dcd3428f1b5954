"""What one control step of the real world led to, judged by the independent monitor."""

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

    observation: Any  # the environment's own; the one before the step where the world diverged
    reward: float
    terminated: bool
    truncated: bool
    margin: np.ndarray  # (G,), as the monitor judged it
    violated: bool
    after: Snapshot  # where the world stands; where it stood before the step where it diverged
    divergence: str = ""  # why the world can no longer be simulated; "" where it can

    @property
    def ended(self) -> bool:
        """Whether the episode ends with this step."""
        return self.terminated or self.truncated or bool(self.divergence)

    def notice(self, episode: int, steps: int) -> str:
        """What the user should be told of an episode that ended here, after so many steps; "" for nothing."""
        return f"episode {episode} ended at step {steps}: {self.divergence}" if self.divergence else ""


def advance(env: Environment, monitor: Monitor, before: Snapshot, observation: Any, action: np.ndarray) -> Outcome:
    """Take one control step and judge it.

    A step in which the world diverges earns nothing, and counts as violated under any guardrail, because nobody can
    verify where it led.

    Args:
        before: where the world stands.
        observation: what the environment shows there.
        action: (A,) in [-1,1].

    Raises:
        TelosError: an action that the environment refuses.
    """
    try:
        seen, reward, terminated, truncated, _ = env.step(action)
    except Diverged as error:
        rules = len(monitor.guardrails)
        return Outcome(observation, 0.0, False, False, np.full(rules, -np.inf), rules > 0, before, error.given)
    after = env.snapshot()
    found = monitor.judge(before, env.control(), after)
    return Outcome(seen, reward, terminated, truncated, found.margin.numpy(), not found.safe, after)
