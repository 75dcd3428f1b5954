"""Ball in a cup as in dm_control: swing a ball on a string into a planar cup."""

from __future__ import annotations

from dm_control.suite import ball_in_cup as dm
from torch import Tensor

from envs.backup import BackUp
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory

_TARGET = 0.05  # m, half the side of the square inside the cup
_BALL = 0.025  # m, radius

_BRAKE = BackUp(seconds=1.5, rest_speed=0.2, gain=1.0, joints=("cup_x", "cup_z"))  # the ball may go on swinging


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _catch(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    to_target = signals.after("site_position/target") - signals.after("body_position/ball")
    offset = to_target[..., ::2].abs().amax(dim=-1)  # the larger of |x| and |z|
    return (offset < _TARGET - _BALL).to(offset.dtype)


def catch() -> Task:
    """Have the ball in the cup; reward 0 or 1."""
    return suite_task(
        "ball_in_cup", "catch", _spec, _catch, at_states("site_position/target", "body_position/ball"), back_up=_BRAKE
    )
