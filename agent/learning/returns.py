"""The test of an agent that learns from rewards: returns of whole episodes from held-out starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from agent.learning.collect import Collector, turns
from agent.runs import statistics
from agent.runs.statistics import Estimate
from envs.guard.world import GuardedWorld


@dataclass(frozen=True)
class Played:
    """One episode."""

    total: float  # the environment's own return
    frames: int
    violated: bool  # whether a guardrail was violated at some step
    decision_ms: float  # the mean, from percept to action, per control step


@dataclass(frozen=True)
class Return:
    """The returns of one way to act."""

    by: str
    mean: Estimate  # over episodes, with its 95 % t interval
    each: tuple[float, ...]
    violations: int  # episodes with a step that violated a guardrail
    decision_ms: float  # the mean, per control step


def played(world: GuardedWorld, by: Collector, episodes: int, seed: int) -> Iterator[Played]:
    """Whole episodes; their starts follow from `seed` and the episode's index."""
    for index in range(episodes):
        found = list(turns(world, by, seed, index, world.env.interface.frame_limit))
        total = sum(judged.reward for judged, _ in found)
        violated = any(judged.violated for judged, _ in found)
        yield Played(total, len(found), violated, float(np.mean([spent for _, spent in found])))


def summed(by: str, found: list[Played]) -> Return:
    """The summary of these episodes."""
    totals = [one.total for one in found]
    return Return(
        by,
        statistics.mean(totals),
        tuple(round(total, 3) for total in totals),
        sum(one.violated for one in found),
        float(np.mean([one.decision_ms for one in found])),
    )
