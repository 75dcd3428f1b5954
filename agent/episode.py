"""One episode: agent and world in lock-step, judged by the independent monitor."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.agent import Agent, Pace
from agent.perception import instruction
from envs.environment import Environment
from envs.errors import TelosError
from envs.monitor import Monitor

MAX_RESETS = 100


@dataclass(frozen=True)
class Step:
    """What one control step showed; the stream that progress bars, logs and viewers subscribe to."""

    index: int
    reward: float
    margin: np.ndarray  # (G,), as the monitor judged it
    violated: bool
    plan_cost: float
    plan_feasible: bool  # whether the planner found a plan that keeps every guardrail
    plan_ms: float  # planning, ms
    decision_ms: float  # percept to action, ms
    intervened: bool
    fallback: bool
    reason: str
    action: np.ndarray  # (A,) in [-1,1]
    state: np.ndarray  # (S,), raw, after the step
    plan_age: float = 0.0  # s since the state that the plan starts from; above 0 in real time alone


@dataclass(frozen=True)
class EpisodeResult:
    """One finished episode."""

    seed: int  # of the accepted reset
    steps: tuple[Step, ...]
    terminated: bool
    resets_rejected: int  # starts that a guardrail forbids
    physics_steps: int  # simulated by the world model
    gate_steps: int  # physics steps simulated by the gate
    simulator_seconds: float  # of planning, inside MuJoCo's C code
    seconds: float  # wall clock
    frames: tuple[np.ndarray, ...] = field(default=(), repr=False)  # rendered, where asked for
    pace: Pace | None = None  # of an agent in real time
    diverged: bool = False  # whether the simulation of the world diverged
    diverged_candidates: int = 0  # imagined futures whose simulation diverged

    @property
    def total(self) -> float:
        """The environment's own return."""
        return float(sum(step.reward for step in self.steps))


def seeds_of(seed: int, episode: int) -> tuple[int, ...]:
    """The reset seeds to try, in order; they depend on the run's seed and the episode's index alone."""
    words = np.random.SeedSequence([seed, episode]).generate_state(MAX_RESETS + 1)
    return tuple(int(word) % 2**31 for word in words)


def start(env: Environment, monitor: Monitor, seeds: tuple[int, ...]) -> tuple[Any, int, int]:
    """Reset into a state that the guardrails allow; return observation, accepted seed, rejections.

    Raises:
        TelosError: none of `MAX_RESETS` starts is allowed.
    """
    for rejected, seed in enumerate(seeds[:MAX_RESETS]):
        observation, _ = env.reset(seed=seed)
        if monitor.judge_reset(env.snapshot()):
            return observation, seed, rejected
    raise TelosError("guardrails", f"{MAX_RESETS} resets in a row into an unsafe state", "a start that they allow")


def run(
    agent: Agent,
    env: Environment,
    monitor: Monitor,
    seed: int,
    episode: int,
    frames: int | None = None,
    watch: Callable[[Step], None] | None = None,
) -> EpisodeResult:
    """Run one episode to its end, as `play` does; `watch` is called after every step."""
    stream = play(agent, env, monitor, seed, episode, frames)
    while True:
        try:
            step = next(stream)
        except StopIteration as end:
            return end.value
        if watch is not None:
            watch(step)


def play(
    agent: Agent,
    env: Environment,
    monitor: Monitor,
    seed: int,
    episode: int,
    frames: int | None = None,
    render_every: int = 0,
) -> Generator[Step, None, EpisodeResult]:
    """One episode as the stream of its steps, each yielded when it is done; returns the result.

    Args:
        seed, episode: all randomness derives from these two.
        frames: control steps at most; the task's own limit where None.
        render_every: a frame is rendered every so many steps; 0 for none.
    """
    with closing(agent):
        return (yield from _play(agent, env, monitor, seed, episode, frames, render_every))


def _play(
    agent: Agent, env: Environment, monitor: Monitor, seed: int, episode: int, frames: int | None, render_every: int
) -> Generator[Step, None, EpisodeResult]:
    clock = time.perf_counter()
    seeds = seeds_of(seed, episode)
    observation, accepted, rejected = start(env, monitor, seeds)
    agent.reset(seeds[-1])
    spent_before, gate_before = agent.model.spent, agent.gate.steps
    steps: list[Step] = []
    images: list[np.ndarray] = []
    env.shown = monitor.guardrails
    before = env.snapshot()
    terminated = truncated = False
    limit = frames or env.interface.frame_limit
    while not (terminated or truncated) and len(steps) < limit:
        if render_every and len(steps) % render_every == 0:
            images.append(env.render())
        told = env.snapshot()  # the agent's own copy: what it does to it reaches nobody else
        privileged = agent.perception.privileged
        action = agent.act(observation, told if privileged else None, instruction(told.params))
        decision = agent.decision
        assert decision is not None
        observation, reward, terminated, truncated, _ = env.step(action)
        after = env.snapshot()
        judgement = monitor.judge(before, env.control(), after)
        margin = judgement.margin.numpy()
        agent.remember(-reward, margin.copy(), after.state if privileged else None)
        step = Step(
            len(steps),
            reward,
            margin,
            not judgement.safe,
            decision.plan.cost,
            decision.plan.feasible,
            1e3 * decision.plan_seconds,
            1e3 * decision.seconds,
            decision.executed.intervened,
            decision.fallback,
            decision.executed.reason,
            action,
            after.state,
            decision.age,
        )
        steps.append(step)
        yield step
        before = after
    agent.finish(observation, instruction(env.snapshot().params))
    spent = agent.model.spent.since(spent_before)
    return EpisodeResult(
        accepted,
        tuple(steps),
        terminated,
        rejected,
        spent.steps,
        agent.gate.steps - gate_before,
        spent.seconds,
        time.perf_counter() - clock,
        tuple(images),
        agent.pace,
    )
