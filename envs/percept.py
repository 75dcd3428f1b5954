"""The input that the environment gives to an agent at a control step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envs.task import Snapshot, TaskParams


@dataclass(frozen=True)
class Percept:
    """The agent's input at one control step."""

    observation: Any  # the environment's own: an array or a dict of arrays
    snapshot: Snapshot | None  # read-only state and TaskParams, for agents declared privileged
    params: TaskParams | None = None  # the task's instruction: targets and sizes that a person set


def instruction(params: TaskParams) -> TaskParams:
    """The params that any agent may be told: all but `stale`, which is a part of the physics state."""
    return TaskParams(params.model, params.attributes)
