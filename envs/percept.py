"""What the world shows an agent at a control step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envs.task import Snapshot, TaskParams


@dataclass(frozen=True)
class Percept:
    """What the world hands to the agent at one step."""

    observation: Any  # the environment's own: an array or a dict of arrays
    snapshot: Snapshot | None  # read-only state and TaskParams, for agents declared privileged
    params: TaskParams | None = None  # the task's instruction: targets and sizes that a person set


def instruction(params: TaskParams) -> TaskParams:
    """What a person may tell any agent: all of the params but `stale`, which are pieces of the physics state."""
    return TaskParams(params.model, params.attributes)
