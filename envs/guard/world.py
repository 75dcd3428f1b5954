"""The guarded world: the environment behind a gate, with every step judged by the independent monitor."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.environment import Environment
from envs.errors import Diverged, TelosError
from envs.goal import Goal, Near, goal_of
from envs.guard.gate import Executed, Gate, Verdict
from envs.guard.monitor import Monitor
from envs.guard.reached import GoalCheck
from envs.percept import Percept, instruction
from envs.task import Snapshot, Task

MAX_RESETS = 100  # into an unsafe state, one after the other, before an episode is given up


@dataclass(frozen=True, eq=False)
class Judged:
    """What became of one action."""

    executed: Executed  # the action that entered the environment, and why
    reward: float
    terminated: bool
    truncated: bool
    margin: np.ndarray  # (G,), as the monitor judged it
    violated: bool
    violations: int = 0  # guardrails violated; all of them where the step could not be verified
    reached: bool = False  # whether the goal holds after the step; False where there is none
    divergence: str = ""  # why the world can no longer be simulated; "" if it can
    gate_seconds: float = 0.0  # s of wall clock that the gate took

    @property
    def ended(self) -> bool:
        """Whether the episode ends with this step."""
        return self.terminated or self.truncated or bool(self.divergence)

    def notice(self, episode: int, steps: int) -> str:
        """The message for the user if the simulation diverged in this step, the last of `steps`; "" otherwise."""
        return f"episode {episode} ended at step {steps}: {self.divergence}" if self.divergence else ""


class GuardedWorld:
    """Environment, gate and monitor behind `reset` and `step`.

    The gate tries each action from the real state in its own simulator, whatever the agent believes. In place of an
    action that it refuses, the fallback is executed. This object lives in the agent's process (assurance level L2).
    """

    def __init__(
        self,
        env: Environment,
        monitor: Monitor,
        gate: Gate | None,
        privileged: bool,
        goal: Goal | None = None,
        task: Task | None = None,
    ) -> None:
        """
        Args:
            gate: None only for the unguarded players of `benchmarks/`, whose rows say `gate: none`.
            privileged: whether percepts carry a copy of the simulator's state.
            goal: what a person asks for beyond the task; `goal` can be set again at any time.
            task: in whose signals goals are read, with a configuration's zones; the environment's where None.

        Raises:
            TelosError: a goal on a signal that the model lacks.
        """
        self.env = env
        self.monitor = monitor
        self.gate = gate
        self.privileged = privileged
        self._task = task or env.task
        self.goal = goal
        self.snapshot: Snapshot | None = None  # the world's present state, for scoring and records
        self.seed = 0  # of the accepted reset
        self.rejected = 0  # resets of this episode into a state that the guardrails forbid
        self._ended = False  # whether the episode terminated, or its simulation diverged
        self.warning = ""  # where the declared back-up cannot stop safely from the episode's start
        self._observation: Any = None
        self._verdict: Verdict | None = None

    @property
    def goal(self) -> Goal | None:
        """What a person asks for; the next percept says it. Setting it raises TelosError for a missing signal."""
        return self._goal

    @goal.setter
    def goal(self, given: Goal | Near | str | None) -> None:
        env, goal = self.env, goal_of(given)
        self._check = None if goal is None else GoalCheck(self._task, env.interface, goal, env.variant)
        self._goal = goal

    @property
    def state(self) -> np.ndarray:
        """The world's present raw state (S,); the last one before its simulation diverged. Raises before `reset`."""
        return self._present.state

    @property
    def whereabouts(self) -> tuple[Any, ...]:
        """What a copy needs besides its own environment, monitor and gate; it carries no stop that is under way on."""
        return self.snapshot, self._observation, self.seed, self.rejected, self.warning, self._ended

    @whereabouts.setter
    def whereabouts(self, of: tuple[Any, ...]) -> None:
        self.snapshot, self._observation, self.seed, self.rejected, self.warning, self._ended = of

    @property
    def gate_steps(self) -> int:
        """Physics steps that the gate simulated so far."""
        return 0 if self.gate is None else self.gate.steps

    def reset(self, *seeds: int) -> Percept:
        """Begin an episode at the first of these resets that the guardrails allow.

        After a single seed come others that derive from it.

        Raises:
            TelosError: they forbid all of them.
        """
        if not seeds:
            raise TelosError("GuardedWorld.reset", "no seed", "one seed, from which others derive, or several")
        self.snapshot, self._ended = None, False  # until a start is accepted, nothing can be executed
        tried = starts_of(*seeds) if len(seeds) == 1 else seeds
        for self.rejected, self.seed in enumerate(tried):
            self._observation, _ = self.env.reset(seed=self.seed)
            start = self.env.snapshot()
            if self.monitor.judge_reset(start):
                break
        else:
            raise TelosError(
                "guardrails", f"{len(tried)} resets in a row into an unsafe state", "a start that they allow"
            )
        self.env.shown = self.monitor.guardrails
        self._verdict, self.warning, self.snapshot = None, "", start
        if self.gate is not None:
            self.gate.reset()
            self.warning = _warning(self.gate, start)
        return self._percept(start)

    def step(self, action: np.ndarray) -> tuple[Percept, Judged]:
        """Gate and execute an action (A,) in [-1,1], and judge the step.

        A step in which the world's simulation diverges has reward 0. It counts as a violation if there is any
        guardrail, because the monitor cannot verify where it led. Its percept is that before the step.

        Raises:
            TelosError: before `reset`, an action of another shape, or one that the environment refuses without a gate.
            GuardrailTampered: the guardrails of gate or monitor were changed.
        """
        before = self._present
        if self._ended:
            raise TelosError("GuardedWorld.step", "after the episode's end", "reset at the beginning of every episode")
        action = _plain(action, self.env.interface.action_size)
        clock = time.perf_counter()
        executed = self._gated(before, action)
        gated = time.perf_counter() - clock
        try:
            self._observation, reward, terminated, truncated, _ = self.env.step(executed.action)
        except Diverged as error:
            rules = len(self.monitor.guardrails)
            margin = np.full(rules, -np.inf)
            self._ended = True
            judged = Judged(executed, 0.0, False, False, margin, rules > 0, rules, False, error.given, gated)
            return self._last(before), judged
        after = self.snapshot = self.env.snapshot()
        self._ended = terminated
        found = self.monitor.judge(before, self.env.control(), after)
        margin = found.margin.numpy()
        margin.flags.writeable = False
        judged = Judged(
            executed=executed,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            margin=margin,
            violated=not found.safe,
            violations=int(found.violated.sum()),
            reached=self._check is not None and self._check(after, self._observation),
            gate_seconds=gated,
        )
        return self._last(after) if judged.ended else self._percept(after), judged

    @property
    def _present(self) -> Snapshot:
        if self.snapshot is None:
            raise TelosError("GuardedWorld", "before reset", "reset(seed) at the beginning of every episode")
        return self.snapshot

    def _gated(self, before: Snapshot, action: np.ndarray) -> Executed:
        if self.gate is None:
            return Executed(action, False, "")
        self._verdict = self.gate.check(before, action[None])
        if self._verdict.passed:
            return Executed(action, False, "")
        return Executed(self.gate.fallback(before), True, self._verdict.reason)

    def _percept(self, now: Snapshot) -> Percept:
        return self._last(now, {} if self.gate is None else self._proposals(self.gate, now))

    def _last(self, now: Snapshot, proposals: Mapping[str, np.ndarray] | None = None) -> Percept:
        """What the agent is told; copies, which it may modify. After an episode's last step, nothing is proposed."""
        seen, told = copy.deepcopy((self._observation, now))
        return Percept(seen, told if self.privileged else None, instruction(told.params), self.goal, proposals or {})

    def _proposals(self, gate: Gate, now: Snapshot) -> dict[str, np.ndarray]:
        """See `Percept.proposals`."""
        if self._verdict is not None and self._verdict.passed and len(self._verdict.back_up):
            known = {"fallback": self._verdict.back_up}
        else:
            known = {"fallback": gate.fallback(now)[None]}
        held = gate.hold(now) if gate.back_up is not None else None
        return known if held is None else {**known, "hold": held[None]}


def _plain(action: Any, size: int) -> np.ndarray:
    """A copy (A,) float64 of an action, which nobody can change between the gate's check and the step.

    Raises:
        TelosError: another shape, or no numbers.
    """
    try:
        plain = np.array(action, dtype=np.float64, subok=False)
    except (TypeError, ValueError):
        raise TelosError("action", repr(action), f"{size} numbers") from None
    if plain.shape != (size,):
        raise TelosError("action", f"shape {plain.shape}", f"shape ({size},)")
    plain.flags.writeable = False
    return plain


def _warning(gate: Gate, start: Snapshot) -> str:
    """A warning where the declared back-up cannot stop safely from an episode's start; "" where it can."""
    verdict = gate.try_stop(start)
    if verdict.passed:
        return ""
    assert gate.back_up is not None
    return f"the back-up ({gate.back_up.law}) cannot stop safely from this start: {verdict.reason}"


def starts_of(seed: int) -> tuple[int, ...]:
    """The resets to try: the given one, then others that derive from it."""
    words = np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(MAX_RESETS - 1)
    return (seed, *(int(word) % 2**31 for word in words))
