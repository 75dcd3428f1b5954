"""The belief, which perception makes and from which every imagined future starts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from envs.errors import TelosError
from envs.goal import Goal
from envs.task import Snapshot, TaskParams


@dataclass(frozen=True, eq=False)
class Belief:
    """The agent's estimate of the state of the world."""

    snapshot: Snapshot | None  # believed simulator state; None where only features are perceived
    features: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """What was observed, in its own dtype: a vector (F,), or pixels (height,width,channels) uint8."""
    params: TaskParams = field(default_factory=TaskParams)  # targets and sizes that the reset chose
    goal: Goal | None = None  # what a person asks for beyond the task

    @staticmethod
    def at(snapshot: Snapshot) -> Belief:
        """The belief that the world is in this state; no features."""
        return Belief(snapshot, params=snapshot.params)

    @property
    def simulated(self) -> Snapshot:
        """The believed simulator state. Raises TelosError where only features are perceived."""
        if self.snapshot is None:
            allowed = "privileged or estimated: this world model starts from a state"
            raise TelosError("perception.kind", "features alone", allowed)
        return self.snapshot
