"""An episode that costs next to nothing, yet hands over what a real one does: to measure what stands around it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import fields

import numpy as np

from agent import build
from agent.config import Config
from agent.episode import Step
from agent.rollouts import Played
from agent.row import Row, Steps

PLAYER = "benchmarks.trivial:play"
STATE = 20  # numbers in a state, as many as cartpole's integration state and a few


def play(config: Config, episode: int) -> Generator[Step, None, Played]:
    """`config.frames` steps of random numbers, which follow from seed and episode; see `agent.rollouts.Player`."""
    frames, rules = config.frames or 1_000, build.guardrails(config)
    rng = np.random.default_rng([config.seed, episode])
    rewards, margins = rng.random(frames), rng.random((frames, len(rules)))
    actions, states = rng.uniform(-1, 1, (frames, 1)), rng.standard_normal((frames, STATE))
    for t in range(frames):
        yield Step(t, rewards[t], margins[t], False, 0.0, True, 0.0, 0.0, False, False, "", actions[t], states[t])
    nothing, yes = np.zeros(frames), np.ones(frames, bool)
    steps = Steps(
        reward=rewards,
        margin=margins,
        violated=~yes,
        plan_cost=nothing,
        plan_feasible=yes,
        plan_ms=nothing,
        decision_ms=nothing,
        intervened=~yes,
        fallback=~yes,
        action=actions,
        state=states,
        belief=states[:1],
        reasons=np.full(frames, ""),
        control_period=np.array(0.01),
    )
    blank = {
        field.name: {"str": "", "int": 0, "float": 0.0, "bool": False}.get(str(field.type)) for field in fields(Row)
    }
    row = Row(
        **{
            **blank,
            "task": config.task,
            "planner": "none",
            "world_model": "none",
            "seed": config.seed,
            "episode": episode,
            "env_frames": frames,
            "decisions": frames,
            "return_": float(rewards.sum()),
            "min_margin": dict(zip(rules.names, margins.min(0).tolist(), strict=True)),
            "guardrails_sha256": rules.digest,
            "rules_sha256": build.rules_sha256(rules.digest, None),
        }
    )
    return Played(row, steps)
