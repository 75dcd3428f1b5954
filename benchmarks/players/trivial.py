"""An episode that costs almost nothing but returns as much data as a real one, to measure the costs around episodes."""

from __future__ import annotations

import time
from collections.abc import Generator

import numpy as np

from agent.config.resolved import Resolved
from agent.rollouts.episode import Step
from agent.rollouts.jobs import Played
from agent.rollouts.row import Steps
from benchmarks.players.scripted import bare_row, bare_step

PLAYER = "benchmarks.players.trivial:play"
PACED = "benchmarks.players.trivial:paced"
SLOW = "benchmarks.players.trivial:slow"
PACE, SLOW_PACE = 5e-4, 1e-2  # s per control step
STATE = 20  # numbers in a state, a few more than in cartpole's integration state


def play(resolved: Resolved, episode: int) -> Generator[Step, None, Played]:
    """`config.frames` steps of random numbers, which follow from seed and episode; see `agent.rollouts.jobs.Player`.

    One step in a hundred is yielded while the episode runs.
    """
    config, rules = resolved.config, resolved.guardrails
    frames = config.frames or 1_000
    rng = np.random.default_rng([config.seed, episode])
    rewards, margins = rng.random(frames), rng.random((frames, len(rules)))
    actions, states = rng.uniform(-1, 1, (frames, 1)), rng.standard_normal((frames, STATE))
    nothing, no = np.zeros(frames), np.zeros(frames, bool)
    for t in range(min(99, frames - 1), frames, 100):
        yield bare_step(t, float(rewards[t]), margins[t], False, actions[t], states[t])
    steps = Steps(
        reward=rewards,
        margin=margins,
        violated=no,
        plan_cost=nothing,
        plan_feasible=~no,
        plan_ms=nothing,
        decision_ms=nothing,
        intervened=no,
        fallback=no,
        action=actions,
        state=states,
        belief=states[:1],
        reasons=np.full(frames, ""),
        control_period=np.array(0.01),
    )
    row = bare_row("none", config, episode, rules, rewards, margins, 0, 0.0)
    return Played(row, steps)


def paced(resolved: Resolved, episode: int) -> Generator[Step, None, Played]:
    """The same, but each step takes `PACE` seconds of sleep, as if another machine did the work."""
    return (yield from _in_time(resolved, episode, PACE))


def slow(resolved: Resolved, episode: int) -> Generator[Step, None, Played]:
    """The same with `SLOW_PACE` seconds per step."""
    return (yield from _in_time(resolved, episode, SLOW_PACE))


def _in_time(resolved: Resolved, episode: int, pace: float) -> Generator[Step, None, Played]:
    began = time.monotonic()
    stream = play(resolved, episode)
    while True:
        try:
            step = next(stream)
        except StopIteration as end:
            return end.value
        time.sleep(max(0.0, began + (step.index + 1) * pace - time.monotonic()))
        yield step
