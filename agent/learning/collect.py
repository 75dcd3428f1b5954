"""Collection of experience: who acts, and the record of an episode in the guarded world."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from agent.actor.policy import GaussianPolicy
from agent.memory.episode import Episode, flat
from agent.memory.memory import Memory
from agent.rollouts.episode import seeds_of
from envs.errors import TelosError
from envs.guard.world import GuardedWorld, Judged
from envs.percept import Percept, features
from envs.task import TaskParams

CORRELATION = (0.5, 0.8, 0.9, 0.95)  # of consecutive random actions; one is drawn for each episode


class Collector(Protocol):
    """Chooses the actions of an episode that is collected."""

    @property
    def name(self) -> str:
        """What the record says of who acted."""
        ...

    def begin(self, seed: int) -> None:
        """Start an episode; all its randomness derives from the seed."""
        ...

    def act(self, percept: Percept) -> np.ndarray:
        """(A,) in [-1,1]; the guarded world decides whether it is executed."""
        ...

    def remember(self, judged: Judged) -> None:
        """Take note of what became of the last action."""
        ...


class RandomActions:
    """Actions of a first-order autoregressive process of unit variance, clipped to [-1,1]."""

    name = "random"

    def __init__(self, action_size: int, correlation: Sequence[float] = CORRELATION, hold: int = 1) -> None:
        """
        Args:
            correlation: of consecutive actions, each in [0,1); every episode draws one of them.
            hold: control steps for which each action is held.
        """
        self._size, self._correlation, self.hold = action_size, tuple(correlation), hold
        self.begin(0)

    def begin(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._kept = float(self._rng.choice(self._correlation))
        self._now, self._steps = self._rng.standard_normal(self._size), 0

    def act(self, percept: Percept) -> np.ndarray:
        action = np.clip(self._now, -1, 1)
        self._steps += 1
        if self._steps % self.hold == 0:
            fresh = self._rng.standard_normal(self._size)
            self._now = self._kept * self._now + np.sqrt(1 - self._kept**2) * fresh
        return action

    def remember(self, judged: Judged) -> None:
        """Nothing: the actions depend on nothing that happens."""


class PolicyActions:
    """A learned policy, whose actions are held between decisions."""

    def __init__(
        self,
        policy: GaussianPolicy,
        encode: Callable[[Tensor], Tensor],
        hold: int,
        explores: bool,
    ) -> None:
        """
        Args:
            encode: observations (N,F) float32 -> the policy's latents (N,D).
            hold: control steps of a decision.
            explores: whether actions are drawn, or the likeliest ones.
        """
        self._policy, self._encode, self.hold, self._explores = policy, encode, hold, explores
        self.name = "policy, exploring" if explores else "policy"
        self.begin(0)

    def begin(self, seed: int) -> None:
        self._rng, self._steps = np.random.default_rng(seed), 0
        self._action = np.zeros(self._policy.action_size)

    def act(self, percept: Percept) -> np.ndarray:
        if self._steps % self.hold == 0:
            self._action = self._decided(features(percept.observation))
        self._steps += 1
        return self._action

    def remember(self, judged: Judged) -> None:
        """Nothing: the policy has no memory."""

    def _decided(self, seen: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            latents = self._encode(torch.from_numpy(seen.astype(np.float32))[None])
            if not self._explores:
                return self._policy.act(latents)[0].double().numpy()
            noise = torch.from_numpy(self._rng.standard_normal((1, self._policy.action_size), np.float32))
            return self._policy.sample(latents, noise)[0][0].double().numpy()


def turns(
    world: GuardedWorld, collector: Collector, seed: int, index: int, steps: int
) -> Iterator[tuple[Judged, float]]:
    """An episode of at most `steps` control steps: each step's outcome, and the ms from percept to action.

    All its randomness derives from `seed` and `index`.
    """
    *starts, drawn = seeds_of(seed, index)
    percept = world.reset(*starts)
    collector.begin(drawn)
    for _ in range(steps):
        begun = time.perf_counter()
        action = collector.act(percept)
        spent = 1e3 * (time.perf_counter() - begun)
        percept, judged = world.step(action)
        collector.remember(judged)
        yield judged, spent
        if judged.ended:
            return


def collected(world: GuardedWorld, collector: Collector, seed: int, index: int, steps: int) -> Episode:
    """One episode of at most `steps` control steps; all its randomness derives from `seed` and `index`.

    Raises TelosError where its first step leads to no state that can be recorded.
    The record holds raw states, whatever the agent may perceive, so that signals can be computed for probes.
    """
    *starts, drawn = seeds_of(seed, index)
    percept, memory = world.reset(*starts), Memory(1)
    collector.begin(drawn)
    params = flat(percept.params or TaskParams())
    memory.begin(features(percept.observation), world.state, params, actor=collector.name)
    for _ in range(steps):
        percept, judged = world.step(collector.act(percept))
        collector.remember(judged)
        if judged.divergence:  # the step led to no state that could be recorded
            break
        memory.add(
            judged.executed.action,
            judged.reward,
            judged.margin,
            features(percept.observation),
            world.state,
            judged.terminated,
            judged.truncated,
        )
        if judged.ended:
            break
    memory.close(truncated=True)
    if not memory.episodes:
        raise TelosError(
            "collect", f"a world that diverges in the first step of episode {index}", "another seed or task"
        )
    return replace(memory.episodes[-1], seed=world.seed)
