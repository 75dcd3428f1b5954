"""An episode that costs next to nothing, yet hands over what a real one does: to measure what stands around it."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from agent import build
from agent.config import Config
from agent.episode import Step
from agent.rollouts import Played
from agent.row import Steps
from benchmarks.scripted import bare_row, bare_step

PLAYER = "benchmarks.trivial:play"
STATE = 20  # numbers in a state, as many as cartpole's integration state and a few


def play(config: Config, episode: int) -> Generator[Step, None, Played]:
    """`config.frames` steps of random numbers, which follow from seed and episode; see `agent.rollouts.Player`."""
    frames, rules = config.frames or 1_000, build.guardrails(config)
    rng = np.random.default_rng([config.seed, episode])
    rewards, margins = rng.random(frames), rng.random((frames, len(rules)))
    actions, states = rng.uniform(-1, 1, (frames, 1)), rng.standard_normal((frames, STATE))
    walked: list[Step] = []
    for t in range(frames):
        walked.append(bare_step(t, float(rewards[t]), margins[t], False, actions[t], states[t]))
        yield walked[-1]
    nothing, no = np.zeros(frames), np.zeros(frames, bool)
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
    return Played(bare_row("none", config, episode, rules, walked, 0.0), steps)
