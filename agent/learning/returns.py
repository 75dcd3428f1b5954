"""The test of an agent that learns from rewards: returns of whole episodes from held-out starts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from agent.learning.collect import Collector
from agent.rollouts.episode import seeds_of
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
    mean: Estimate  # over episodes, with a bootstrapped 95 % interval
    each: tuple[float, ...]
    violations: int  # episodes with a step that violated a guardrail
    decision_ms: float  # the mean, per control step


def played(world: GuardedWorld, by: Collector, episodes: int, seed: int) -> Iterator[Played]:
    """Whole episodes; their starts follow from `seed` and the episode's index."""
    for index in range(episodes):
        *starts, drawn = seeds_of(seed, index)
        percept, total, violated, times = world.reset(*starts), 0.0, False, []
        by.begin(drawn)
        for _ in range(world.env.interface.frame_limit):
            begun = time.perf_counter()
            action = by.act(percept)
            times.append(1e3 * (time.perf_counter() - begun))
            percept, judged = world.step(action)
            by.remember(judged)
            total += judged.reward
            violated |= judged.violated
            if judged.ended:
                break
        yield Played(total, len(times), violated, float(np.mean(times)))


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
