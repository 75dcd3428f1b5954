"""Finger and spinner (Tassa et al. 2018) as in dm_control: spin a body on a hinge, or turn it to a target."""

from __future__ import annotations

from functools import partial

from dm_control.suite import finger as dm
from torch import Tensor

from envs.backup import BackUp
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory

_SPIN_SPEED = 15.0  # rad/s, clockwise
_EASY_TARGET = 0.07  # m, radius
_HARD_TARGET = 0.03  # m, radius
_BRAKE = BackUp(seconds=1.0, rest_speed=0.1, gain=0.03, joints=("proximal", "distal"))  # the body may go on spinning


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _spin(trajectory: Trajectory, _: TaskParams) -> Tensor:
    speed = trajectory.signals.after("joint_velocity/hinge", 0)
    return (speed <= -_SPIN_SPEED).to(speed.dtype)


def _turn(trajectory: Trajectory, _: TaskParams, radius: float) -> Tensor:
    signals = trajectory.signals
    to_target = signals.after("site_position/target") - signals.after("site_position/tip")
    distance = to_target[..., ::2].norm(dim=-1)  # in the plane of the hinge
    return (distance <= radius).to(distance.dtype)


_TURN_PARAMS = ("site_pos", "site_size")
_TURN_REQUESTS = at_states("site_position/target", "site_position/tip")


def spin() -> Task:
    """Keep the body spinning clockwise at 15 rad/s or more; reward 0 or 1."""
    return suite_task(
        "finger",
        "spin",
        _spec,
        _spin,
        at_states("joint_velocity/hinge"),
        params=("dof_damping", "site_rgba"),
        back_up=_BRAKE,
    )


def turn_easy() -> Task:
    """Turn the body's tip into a target of 7 cm radius; reward 0 or 1."""
    return suite_task(
        "finger",
        "turn_easy",
        _spec,
        partial(_turn, radius=_EASY_TARGET),
        _TURN_REQUESTS,
        params=_TURN_PARAMS,
        back_up=_BRAKE,
    )


def turn_hard() -> Task:
    """Turn the body's tip into a target of 3 cm radius; reward 0 or 1."""
    return suite_task(
        "finger",
        "turn_hard",
        _spec,
        partial(_turn, radius=_HARD_TARGET),
        _TURN_REQUESTS,
        params=_TURN_PARAMS,
        back_up=_BRAKE,
    )
