"""Agents that do not think: the rows that every comparison stands beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from agent import episode
from envs.environment import Environment
from envs.monitor import Monitor

Script = Literal["random", "do_nothing"]


@dataclass(frozen=True)
class ScriptedResult:
    """One episode of a scripted agent."""

    reset_seed: int
    total: float  # the environment's own return
    frames: int
    violation_steps: int  # as the monitor judged them


def run(script: Script, env: Environment, monitor: Monitor, seed: int, index: int, frames: int) -> ScriptedResult:
    """One episode from the same start that `agent.episode.run` takes for this seed and index."""
    seeds = episode.seeds_of(seed, index)
    _, accepted, _ = episode.start(env, monitor, seeds)
    rng = np.random.default_rng(seeds[-1])
    total, violations, done, count = 0.0, 0, False, 0
    low, high = env.interface.action_low, env.interface.action_high
    neutral = (np.clip(0.0, low, high) - (high + low) / 2) / ((high - low) / 2)
    before = env.snapshot()
    while not done and count < frames:
        action = rng.uniform(-1, 1, env.interface.action_size) if script == "random" else neutral
        _, reward, terminated, truncated, _ = env.step(action)
        after = env.snapshot()
        violations += not monitor.judge(before, env.control(), after).safe
        total, count, before, done = total + reward, count + 1, after, terminated or truncated
    return ScriptedResult(accepted, total, count, violations)
