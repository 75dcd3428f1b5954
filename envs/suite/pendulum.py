"""Torque-limited pendulum as in dm_control: swing up and balance."""

from __future__ import annotations

import math

from dm_control.suite import pendulum as dm
from torch import Tensor

from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory

_UPRIGHT = math.cos(math.radians(8))  # of the pole's angle to the vertical


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _swingup(trajectory: Trajectory, _: TaskParams) -> Tensor:
    vertical = trajectory.signals.after("body_z_axis/pole", 2)
    return ((vertical >= _UPRIGHT) & (vertical <= 1)).to(vertical.dtype)


def swingup() -> Task:
    """Keep the pole within 8 degrees of the vertical; reward 0 or 1."""
    return suite_task("pendulum", "swingup", _spec, _swingup, at_states("body_z_axis/pole"))
