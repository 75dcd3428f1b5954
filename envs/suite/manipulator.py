"""Planar manipulator as in dm_control: bring a ball to a target."""

from __future__ import annotations

from dm_control.suite import manipulator as dm
from torch import Tensor

from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory

_CLOSE = 0.01  # m


def _spec():
    return xml_spec(*dm.make_model(use_peg=False, insert=False))


def _near(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    offset = signals.after("site_position/ball") - signals.after("site_position/target_ball")
    return tolerance(offset.norm(dim=-1), 0.0, _CLOSE, margin=2 * _CLOSE)


def bring_ball() -> Task:
    """Grasp the ball and hold it at the target."""
    return suite_task(
        "manipulator",
        "bring_ball",
        _spec,
        _near,
        at_states("site_position/ball", "site_position/target_ball"),
        params=("body_pos", "body_quat"),
    )
