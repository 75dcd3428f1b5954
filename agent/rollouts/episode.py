"""One episode: the agent and the guarded world take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from agent.actor.clock import Pace
from agent.agent import Agent, Decision
from agent.memory.episode import flat
from envs.guard.world import MAX_RESETS, GuardedWorld, Judged
from envs.percept import features
from envs.task import TaskParams


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
    decision_ms: float  # from percept to action, the gate's time included, ms
    intervened: bool
    fallback: bool
    reason: str
    action: np.ndarray  # (A,) in [-1,1]
    state: np.ndarray  # (S,), raw, after the step; before it if the world's simulation diverged
    reached: bool = False  # whether the goal holds after the step, judged on the world's state
    plan_age: float = 0.0  # s since the state that the plan starts from; above 0 only in real time
    notice: str = ""  # a message for the user, shown at once


Witness = Callable[[int, Decision], None]
"""Called with each control step's index and decision, before the world takes the step."""


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
    goal: str = ""  # what the user asked for beyond the task, in words
    observations: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    """At the start and after each step, (T+1,F) float64, or pixels (T+1,height,width,channels) uint8."""
    params: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    """What the reset chose, as `agent.memory.episode.flat` names it."""

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
    world: GuardedWorld,
    seed: int,
    episode: int,
    frames: int | None = None,
    watch: Callable[[Step], None] | None = None,
    witness: Witness | None = None,
) -> EpisodeResult:
    """Run one episode to its end with `play`, and call `watch` after every step."""
    stream = play(agent, world, seed, episode, frames, witness)
    while True:
        try:
            step = next(stream)
        except StopIteration as end:
            return end.value
        if watch is not None:
            watch(step)


def play(
    agent: Agent,
    world: GuardedWorld,
    seed: int,
    episode: int,
    frames: int | None = None,
    witness: Witness | None = None,
) -> Generator[Step, None, EpisodeResult]:
    """Run one episode: yield each control step when it is done, and return the result.

    Args:
        seed, episode: all randomness derives from these two.
        frames: maximum number of control steps; None means the task's own limit.
        witness: called with every decision, as a film is.

    Raises:
        TelosError: the guardrails forbid all `MAX_RESETS` starts.
    """
    with closing(agent):
        return (yield from _play(agent, world, seed, episode, frames, witness))


def _play(
    agent: Agent, world: GuardedWorld, seed: int, episode: int, frames: int | None, witness: Witness | None
) -> Generator[Step, None, EpisodeResult]:
    clock = time.perf_counter()
    *starts, drawn = seeds_of(seed, episode)
    gate_before = world.gate_steps
    percept = world.reset(*starts)
    agent.reset(drawn)
    notice = world.warning
    spent_before = agent.model.spent
    steps: list[Step] = []
    seen = [np.array(features(percept.observation))]  # copies, because the agent may write into what it is told
    params = flat(percept.params or TaskParams())
    judged: Judged | None = None
    limit = frames or world.env.interface.frame_limit
    while not (judged and judged.ended) and len(steps) < limit:
        decision = agent.act(percept)
        if witness is not None:
            witness(len(steps), decision)
        percept, judged = world.step(decision.action)
        seen.append(np.array(features(percept.observation)))
        steps.append(_step(len(steps), decision, judged, world.state, notice))
        agent.remember(judged)
        notice = ""
        yield steps[-1]
    assert judged is not None  # there is at least one step
    agent.finish(percept)
    spent = agent.model.spent.since(spent_before)
    return EpisodeResult(
        seed=world.seed,
        steps=tuple(steps),
        terminated=judged.terminated,
        resets_rejected=world.rejected,
        physics_steps=spent.steps,
        gate_steps=world.gate_steps - gate_before,
        simulator_seconds=spent.seconds,
        seconds=time.perf_counter() - clock,
        pace=agent.pace,
        diverged=bool(judged.divergence),
        diverged_candidates=spent.diverged,
        notice=judged.notice(episode, len(steps)),
        goal="" if world.goal is None else world.goal.text(),
        observations=np.stack(seen),
        params=params,
    )


def _step(index: int, decision: Decision, judged: Judged, state: np.ndarray, notice: str) -> Step:
    executed = judged.executed
    return Step(
        index=index,
        reward=judged.reward,
        margin=judged.margin,
        violated=judged.violated,
        plan_cost=decision.plan.cost,
        plan_feasible=decision.plan.feasible,
        plan_ms=1e3 * decision.plan_seconds,
        decision_ms=1e3 * (decision.seconds + judged.gate_seconds),
        intervened=executed.intervened,
        fallback=executed.intervened or decision.fallback,
        reason=executed.reason,
        action=executed.action,
        state=state,
        reached=judged.reached,
        plan_age=decision.age,
        notice=notice,
    )
