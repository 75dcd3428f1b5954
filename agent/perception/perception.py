"""The perception module: from percepts to a belief about the state of the world."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from envs.percept import Percept, features
from envs.task import TaskParams
from worldmodels.belief import Belief


class Perception(Protocol):
    """Makes beliefs from percepts and the actions that led to them."""

    @property
    def privileged(self) -> bool:
        """Whether it reads the snapshot of the real state."""
        ...

    @property
    def gives_state(self) -> bool:
        """Whether its beliefs have a simulator state; features they always have."""
        ...

    def reset(self, percept: Percept) -> Belief:
        """The first belief of an episode."""
        ...

    def update(self, percept: Percept, action: np.ndarray) -> Belief:
        """The belief after `action` (A,) in [-1,1] was executed."""
        ...


class PrivilegedState:
    """The belief is the real simulator state, as the percept's snapshot gives it."""

    privileged = gives_state = True

    def reset(self, percept: Percept) -> Belief:
        if percept.snapshot is None:
            raise ValueError("perception 'privileged': no snapshot given, allowed: a percept with one")
        return Belief(percept.snapshot, features(percept.observation), percept.snapshot.params)

    def update(self, percept: Percept, action: np.ndarray) -> Belief:
        return self.reset(percept)


class ObservationStack:
    """The last `depth` observations as features, the oldest first; the belief has no state.

    Vectors (F,) become (depth·F,), and pixels (height,width,channels) become (height,width,depth·channels) uint8.
    """

    privileged = gives_state = False

    def __init__(self, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"perception.depth: {depth} given, allowed: >= 1")
        self._stack: deque[np.ndarray] = deque(maxlen=depth)

    def reset(self, percept: Percept) -> Belief:
        """The first observation fills the whole stack."""
        self._stack.extend([features(percept.observation)] * (self._stack.maxlen or 1))
        return self._belief(percept)

    def update(self, percept: Percept, action: np.ndarray) -> Belief:
        self._stack.append(features(percept.observation))
        return self._belief(percept)

    def _belief(self, percept: Percept) -> Belief:
        return Belief(None, np.concatenate(self._stack, -1), percept.params or TaskParams())
