"""The input that the guarded world gives to an agent at a control step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from envs.goal import Goal
from envs.task import Snapshot, TaskParams


@dataclass(frozen=True)
class Percept:
    """The agent's input at one control step."""

    observation: Any  # the environment's own: an array or a dict of arrays
    snapshot: Snapshot | None  # a copy of state and TaskParams, for agents declared privileged
    params: TaskParams | None = None  # the task's instruction: targets and sizes that a person set
    goal: Goal | None = None  # what a person asks for beyond the task; given at any time
    proposals: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    """Name -> action sequence (T,A) in [-1,1] that every planner must consider; empty where there is no gate.

    `fallback` is the back-up's stop that the gate has verified or, where it verified none, the fallback's action.
    `hold` keeps servos in place. It is added where a back-up is declared; without one, the fallback does the same.
    """


def instruction(params: TaskParams) -> TaskParams:
    """The params that any agent may be told: all but `stale`, which is a part of the physics state."""
    return TaskParams(params.model, params.attributes)


def flatten(observation: Any) -> np.ndarray:
    """An observation as one vector (F,), dict entries in key order."""
    if isinstance(observation, dict):
        return np.concatenate([flatten(observation[name]) for name in sorted(observation)])
    return np.asarray(observation, dtype=np.float64).ravel()


def features(observation: Any) -> np.ndarray:
    """What a model may start from: pixels (height,width,channels) as they are, anything else as by `flatten`."""
    if isinstance(observation, np.ndarray) and observation.dtype == np.uint8 and observation.ndim == 3:
        return observation
    return flatten(observation)
