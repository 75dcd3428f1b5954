"""One episode: agent and environment take turns, and the independent monitor judges every step."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agent.actor.clock import Pace
from agent.agent import Agent, Decision
from envs.environment import Environment
from envs.guard.monitor import Monitor
from envs.judged import MAX_RESETS, Outcome, advance, start
from envs.percept import instruction


@dataclass(frozen=True)
class Step:
    """One finished control step, as progress bars, logs and viewers receive it."""

    index: int
    reward: float
    margin: np.ndarray  # (G,), as the monitor judged it
    violated: bool
    plan_cost: float
    plan_feasible: bool  # whether the planner found a plan that keeps every guardrail
    plan_ms: float  # planning, ms
    decision_ms: float  # from percept to action, ms
    intervened: bool
    fallback: bool
    reason: str
    action: np.ndarray  # (A,) in [-1,1]
    state: np.ndarray  # (S,), raw, after the step; before it if the world's simulation diverged
    plan_age: float = 0.0  # s since the state that the plan starts from; above 0 only in real time
    notice: str = ""  # a message for the user, shown at once


class Film(Protocol):
    """Records an episode."""

    def take(self, step: int, decision: Decision) -> None:
        """Record the world at the start of control step `step`, after the agent chose its action."""
        ...


@dataclass(frozen=True)
class EpisodeResult:
    """One finished episode."""

    seed: int  # of the accepted reset
    steps: tuple[Step, ...]
    terminated: bool
    resets_rejected: int  # starts that a guardrail forbids
    physics_steps: int  # simulated by the world model
    gate_steps: int  # physics steps simulated by the gate
    simulator_seconds: float  # s of planning spent inside MuJoCo's C code
    seconds: float  # s of wall-clock time
    pace: Pace | None = None  # only if the agent ran in real time
    diverged: bool = False  # whether the world's simulation diverged in the last step
    diverged_candidates: int = 0  # imagined futures whose simulation diverged
    notice: str = ""  # a message for the user

    @property
    def total(self) -> float:
        """The environment's own return."""
        return float(sum(step.reward for step in self.steps))


def seeds_of(seed: int, episode: int) -> tuple[int, ...]:
    """The reset seeds to try, in order; they depend only on the run's seed and the episode's index."""
    words = np.random.SeedSequence([seed, episode]).generate_state(MAX_RESETS + 1)
    return tuple(int(word) % 2**31 for word in words)


def run(
    agent: Agent,
    env: Environment,
    monitor: Monitor,
    seed: int,
    episode: int,
    frames: int | None = None,
    watch: Callable[[Step], None] | None = None,
) -> EpisodeResult:
    """Run one episode to its end with `play`, and call `watch` after every step."""
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
    film: Film | None = None,
) -> Generator[Step, None, EpisodeResult]:
    """Run one episode: yield each control step when it is done, and return the result.

    Args:
        seed, episode: all randomness derives from these two.
        frames: maximum number of control steps; None means the task's own limit.
        film: called with every decision.
    """
    with closing(agent):
        return (yield from _play(agent, env, monitor, seed, episode, frames, film))


def _play(
    agent: Agent, env: Environment, monitor: Monitor, seed: int, episode: int, frames: int | None, film: Film | None
) -> Generator[Step, None, EpisodeResult]:
    clock = time.perf_counter()
    seeds = seeds_of(seed, episode)
    observation, accepted, rejected = start(env, monitor, seeds)
    agent.reset(seeds[-1])
    spent_before, gate_before = agent.model.spent, agent.gate.steps
    steps: list[Step] = []
    env.shown = monitor.guardrails
    before = env.snapshot()
    outcome: Outcome | None = None
    limit = frames or env.interface.frame_limit
    while not (outcome and outcome.ended) and len(steps) < limit:
        told = env.snapshot()  # a private copy: the agent may modify it
        privileged = agent.perception.privileged
        action = agent.act(observation, told if privileged else None, instruction(told.params))
        decision = agent.decision
        assert decision is not None
        if film is not None:
            film.take(len(steps), decision)
        outcome = advance(env, monitor, before, observation, action)
        observation, before = outcome.observation, outcome.after
        agent.remember(-outcome.reward, outcome.margin.copy(), before.state if privileged else None)
        step = Step(
            len(steps),
            outcome.reward,
            outcome.margin,
            outcome.violated,
            decision.plan.cost,
            decision.plan.feasible,
            1e3 * decision.plan_seconds,
            1e3 * decision.seconds,
            decision.executed.intervened,
            decision.fallback,
            decision.executed.reason,
            action,
            before.state,
            decision.age,
            decision.notice,
        )
        steps.append(step)
        yield step
    assert outcome is not None  # there is at least one step
    agent.finish(observation, instruction(before.params))
    spent = agent.model.spent.since(spent_before)
    return EpisodeResult(
        accepted,
        tuple(steps),
        outcome.terminated,
        rejected,
        spent.steps,
        agent.gate.steps - gate_before,
        spent.seconds,
        time.perf_counter() - clock,
        agent.pace,
        bool(outcome.divergence),
        spent.diverged,
        outcome.notice(episode, len(steps)),
    )
