"""Cart-pole (Barto, Sutton and Anderson 1983) as in dm_control: balance and swing-up, dense and sparse."""

from __future__ import annotations

from dm_control.suite import cartpole as dm
from torch import Tensor

from envs.backup import BackUp
from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory


def _spec():
    return xml_spec(*dm.get_model_and_assets(1))


def _smooth(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    upright = 1 + signals.after("body_z_axis/pole_1", 2)
    centered = 1 + tolerance(signals.after("joint_position/slider", 0), margin=2)
    control = 4 + tolerance(signals.last("ctrl", 0), margin=1, value_at_margin=0, sigmoid="quadratic")
    slow = 1 + tolerance(signals.after("joint_velocity/hinge_1", 0), margin=5)
    return upright * slow * control * centered / (2 * 2 * 5 * 2)


def _sparse(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    in_bounds = tolerance(signals.after("joint_position/slider", 0), -0.25, 0.25)
    return in_bounds * tolerance(signals.after("body_z_axis/pole_1", 2), 0.995, 1)


_POSITIONS = at_states("body_z_axis/pole_1", "joint_position/slider")
_DENSE = (*_POSITIONS, *at_states("joint_velocity/hinge_1"), *in_steps("ctrl"))

_BRAKE = BackUp(seconds=1.5, rest_speed=0.2, gain=5.0, joints=("slider",))  # the pole may go on swinging


def balance() -> Task:
    """Keep the pole up."""
    return suite_task("cartpole", "balance", _spec, _smooth, _DENSE, back_up=_BRAKE)


def balance_sparse() -> Task:
    """Keep the pole up; reward 0 or 1."""
    return suite_task("cartpole", "balance_sparse", _spec, _sparse, _POSITIONS, back_up=_BRAKE)


def swingup() -> Task:
    """Swing the pole up and keep it there."""
    return suite_task("cartpole", "swingup", _spec, _smooth, _DENSE, back_up=_BRAKE)


def swingup_sparse() -> Task:
    """Swing the pole up; reward 0 or 1."""
    return suite_task("cartpole", "swingup_sparse", _spec, _sparse, _POSITIONS, back_up=_BRAKE)
