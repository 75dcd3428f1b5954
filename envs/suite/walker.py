"""Planar walker as in dm_control: stand up, walk at 1 m/s, run at 8 m/s."""

from __future__ import annotations

from functools import partial

from dm_control.suite import walker as dm
from torch import Tensor

from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory

_HEIGHT = 1.2  # m, of the torso
_WALK_SPEED = 1.0  # m/s
_RUN_SPEED = 8.0  # m/s


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _stand(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    height = signals.after("body_position/torso", 2)
    standing = tolerance(height, _HEIGHT, float("inf"), margin=_HEIGHT / 2)
    upright = (1 + signals.after("body_z_axis/torso", 2)) / 2
    return (3 * standing + upright) / 4


def _move(trajectory: Trajectory, params: TaskParams, speed: float) -> Tensor:
    forward = trajectory.signals.after("center_of_mass_velocity/torso", 0)
    moving = tolerance(forward, speed, float("inf"), speed / 2, "linear", value_at_margin=0.5)
    return _stand(trajectory, params) * (5 * moving + 1) / 6


_POSTURE = at_states("body_position/torso", "body_z_axis/torso")
_MOTION = (*_POSTURE, *at_states("center_of_mass_velocity/torso"))


def stand() -> Task:
    """Stand upright."""
    return suite_task("walker", "stand", _spec, _stand, _POSTURE)


def walk() -> Task:
    """Walk forwards at 1 m/s or more."""
    return suite_task("walker", "walk", _spec, partial(_move, speed=_WALK_SPEED), _MOTION)


def run() -> Task:
    """Run forwards at 8 m/s or more."""
    return suite_task("walker", "run", _spec, partial(_move, speed=_RUN_SPEED), _MOTION)
