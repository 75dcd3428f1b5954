"""The one record of an episode, from which memory, run directories and data sets derive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from envs.task import TaskParams

ARRAYS = ("observations", "actions", "rewards", "margins", "states")


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode, T control steps; each frame is kept once, in its own dtype."""

    observations: np.ndarray  # (T+1,F) float64, or pixels (T+1,height,width,channels) uint8; (0,0) where not recorded
    actions: np.ndarray  # (T,A), executed, in [-1,1]
    rewards: np.ndarray  # (T,), the environment's own
    margins: np.ndarray  # (T,G), as the monitor judged them
    states: np.ndarray  # (T+1,S), believed simulator states; (0,0) where only features are perceived
    terminated: bool = False  # the task ended it
    truncated: bool = False  # the time limit ended it
    params: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))  # see `flat`
    goal: str = ""  # what a person asked for beyond the task
    actor: str = ""  # who acted: the planner, and the digest of learned weights, if any
    seed: int = -1  # of the reset; -1 where it is not known

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def believed(self) -> np.ndarray:
        """What was believed, one row per state: the states where there are any, or else the observations, (T+1,…)."""
        return self.states if len(self.states) else self.observations.reshape(len(self.observations), -1)

    def stacked(self, depth: int) -> np.ndarray:
        """The features of `perception.kind: stacked`, rebuilt: the last `depth` observations, the oldest first.

        Vectors become (T+1,depth·F), pixels (T+1,height,width,depth·channels). The first one fills the first stack.
        """
        steps = np.arange(len(self.observations))
        parts = [self.observations[np.maximum(steps - back, 0)] for back in reversed(range(depth))]
        return np.concatenate(parts, -1)

    def check(self) -> None:
        """Raises ValueError where lengths, axes or types of the arrays do not fit together."""
        steps = len(self)
        ends = [len(found) for found in (self.observations, self.states) if found.size]
        fit = len(self.rewards) == len(self.margins) == steps and set(ends) == {steps + 1}
        axes = (self.actions.ndim, self.rewards.ndim, self.margins.ndim, self.states.ndim) == (2, 1, 2, 2)
        seen = (self.observations.dtype.kind, self.observations.ndim) in (("f", 2), ("u", 4))
        kinds = {getattr(self, name).dtype.kind for name in ARRAYS[1:]} == {"f"}
        if not (steps and fit and axes and seen and kinds):
            raise ValueError("arrays that do not fit together")


def flat(params: TaskParams) -> dict[str, np.ndarray]:
    """What a reset chose, by name: `model/FIELD` of MjModel, and `task/NAME` of the environment's task."""
    model = {f"model/{name}": np.array(value) for name, value in params.model.items()}
    return model | {f"task/{name}": np.array(value) for name, value in params.attributes.items()}


def unflat(params: Mapping[str, np.ndarray]) -> TaskParams:
    """What `flat` was given."""
    parts: dict[str, dict[str, np.ndarray]] = {"model": {}, "task": {}}
    for name, value in params.items():
        kind, _, field_name = name.partition("/")
        parts[kind][field_name] = value
    return TaskParams(MappingProxyType(parts["model"]), MappingProxyType(parts["task"]))


@dataclass(frozen=True, eq=False)
class Window:
    """L consecutive steps of one episode."""

    episode: int
    step: int
    observations: np.ndarray  # (L+1,…); (0,0) where not recorded
    states: np.ndarray  # (L+1,S); (0,0) where there are none
    actions: np.ndarray  # (L,A)
    rewards: np.ndarray  # (L,)
    margins: np.ndarray  # (L,G)
