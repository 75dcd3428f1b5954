"""Players that do not plan: the baselines of every comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from agent import build
from agent.config.config import Config
from agent.config.resolved import Resolved, rules_sha256
from agent.rollouts import episode
from agent.rollouts.episode import Step
from agent.rollouts.jobs import Played
from agent.rollouts.player import frame_limit
from agent.rollouts.row import Row
from envs.environment import Environment
from envs.guard.monitor import Monitor
from envs.guardrails.ruleset import Guardrails
from envs.judged import Outcome, advance, start
from envs.task import Interface

RANDOM = "benchmarks.players.scripted:random"
DO_NOTHING = "benchmarks.players.scripted:do_nothing"


def random(resolved: Resolved, index: int) -> Generator[Step, None, Played]:
    """Uniform actions; see `agent.rollouts.jobs.Player`."""
    return (
        yield from _play("random", resolved, index, lambda interface, rng: rng.uniform(-1, 1, interface.action_size))
    )


def do_nothing(resolved: Resolved, index: int) -> Generator[Step, None, Played]:
    """The neutral control, which is zero where the actuators allow it; see `agent.rollouts.jobs.Player`."""
    return (yield from _play("do_nothing", resolved, index, lambda interface, _: _neutral(interface)))


def _neutral(interface: Interface) -> np.ndarray:
    low, high = interface.action_low, interface.action_high
    return (np.clip(0.0, low, high) - (high + low) / 2) / ((high - low) / 2)


def _play(
    name: str, resolved: Resolved, index: int, choose: Callable[[Interface, np.random.Generator], np.ndarray]
) -> Generator[Step, None, Played]:
    """One episode from the same start as the agent's, scored by the same monitor."""
    clock = time.perf_counter()
    config = resolved.config
    env = build.environment(config, task=resolved.task)
    with closing(env):
        monitor = build.monitor(config, env)
        seeds = episode.seeds_of(config.seed, index)
        observation, accepted, rejected = start(env, monitor, seeds)
        rng = np.random.default_rng(seeds[-1])
        steps: list[Step] = []
        limit = frame_limit(config, env.interface)
        end = yield from judged(env, monitor, observation, lambda _: choose(env.interface, rng), limit, steps)
        row = bare_row(
            name,
            config,
            index,
            monitor.guardrails,
            np.array([step.reward for step in steps]),
            np.stack([step.margin for step in steps]),
            sum(step.violated for step in steps),
            time.perf_counter() - clock,
        )
        ended = {"terminated": end.terminated, "diverged": bool(end.divergence)}
        row = replace(row, reset_seed=accepted, resets_rejected=rejected, **ended)
        return Played(row, notice=end.notice(index, len(steps)))


def judged(
    env: Environment,
    monitor: Monitor,
    observation: Any,
    act: Callable[[Any], np.ndarray],
    limit: int,
    steps: list[Step],
) -> Generator[Step, None, Outcome]:
    """Play an episode after its reset, without a planner, scored by the monitor; returns the outcome of its last step.

    Args:
        observation: of the reset.
        act: observation -> action (A,) in [-1,1].
        limit: frames, at least 1.
        steps: every yielded step is also appended to this list.
    """
    before = env.snapshot()
    while True:
        action = act(observation)
        found = advance(env, monitor, before, observation, action)
        observation, before = found.observation, found.after
        steps.append(bare_step(len(steps), found.reward, found.margin, found.violated, action, before.state))
        yield steps[-1]
        if found.ended or len(steps) >= limit:
            return found


def bare_step(
    index: int, reward: float, margin: np.ndarray, violated: bool, action: np.ndarray, state: np.ndarray
) -> Step:
    """A step without a plan."""
    return Step(index, reward, margin, violated, 0.0, True, 0.0, 0.0, False, False, "", action, state)


def bare_row(
    name: str,
    config: Config,
    index: int,
    rules: Guardrails,
    rewards: np.ndarray,
    margins: np.ndarray,
    violated: int,
    seconds: float,
) -> Row:
    """The row of an episode without planning, from rewards (T,), margins (T,G) and the number of violating steps."""
    return Row(
        task=config.task,
        planner=name,
        world_model="none",
        seed=config.seed,
        episode=index,
        reset_seed=0,
        env_frames=len(rewards),
        decisions=len(rewards),
        return_=float(sum(rewards)),
        violation_steps=violated,
        min_margin=dict(zip(rules.names, margins.min(0).tolist(), strict=True)),
        interventions=0,
        fallbacks=0,
        infeasible_plans=0,
        resets_rejected=0,
        terminated=False,
        privileged=False,
        plan_ms_median=0.0,
        plan_ms_p95=0.0,
        decision_ms_median=0.0,
        model_steps_per_decision=0.0,
        gate_steps_per_decision=0.0,
        simulator_fraction=0.0,
        guardrails_sha256=rules.digest,
        rules_sha256=rules_sha256(rules.digest, None),
        gate="none",
        model_sha256="",
        goal="",
        diverged=False,
        diverged_candidates=0,
        seconds=seconds,
    )
