"""Resets and control steps of the real world, judged by the independent monitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.environment import Environment
from envs.errors import Diverged, TelosError
from envs.guard.monitor import Monitor
from envs.task import Snapshot

MAX_RESETS = 100


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
    violations: int = 0  # the number of violated guardrails; all of them where the step could not be verified
    divergence: str = ""  # why the world can no longer be simulated; "" if it can

    @property
    def ended(self) -> bool:
        """Whether the episode ends with this step."""
        return self.terminated or self.truncated or bool(self.divergence)

    def notice(self, episode: int, steps: int) -> str:
        """The message for the user if the simulation diverged in this step, the last of `steps`; "" otherwise."""
        return f"episode {episode} ended at step {steps}: {self.divergence}" if self.divergence else ""


def start(env: Environment, monitor: Monitor, seeds: tuple[int, ...]) -> tuple[Any, int, int]:
    """Reset the environment to a state that the guardrails allow.

    Returns:
        The observation, the accepted seed, and the number of rejected starts.

    Raises:
        TelosError: the guardrails forbid all `MAX_RESETS` starts.
    """
    for rejected, seed in enumerate(seeds[:MAX_RESETS]):
        observation, _ = env.reset(seed=seed)
        if monitor.judge_reset(env.snapshot()):
            return observation, seed, rejected
    raise TelosError("guardrails", f"{MAX_RESETS} resets in a row into an unsafe state", "a start that they allow")


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
        return Outcome(observation, 0.0, False, False, np.full(rules, -np.inf), rules > 0, before, rules, error.given)
    after = env.snapshot()
    found = monitor.judge(before, env.control(), after)
    violations = int(found.violated.sum())
    return Outcome(seen, reward, terminated, truncated, found.margin.numpy(), not found.safe, after, violations)
