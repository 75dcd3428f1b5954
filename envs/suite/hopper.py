"""Planar one-legged hopper (Lillicrap et al. 2015) as in dm_control: stand, or hop at 2 m/s."""

from __future__ import annotations

from dm_control.suite import hopper as dm
from torch import Tensor

from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory

_STAND_HEIGHT = 0.6  # m, of the torso over the foot
_HOP_SPEED = 2.0  # m/s


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _standing(trajectory: Trajectory) -> Tensor:
    signals = trajectory.signals
    torso, foot = signals.after("inertial_position/torso"), signals.after("inertial_position/foot")
    return tolerance(torso[..., 2] - foot[..., 2], _STAND_HEIGHT, 2)


def _stand(trajectory: Trajectory, _: TaskParams) -> Tensor:
    control = trajectory.signals.last("ctrl")
    small = tolerance(control, margin=1, value_at_margin=0, sigmoid="quadratic").mean(-1)
    return _standing(trajectory) * (small + 4) / 5


def _hop(trajectory: Trajectory, _: TaskParams) -> Tensor:
    forward = trajectory.signals.after("center_of_mass_velocity/torso", 0)
    hopping = tolerance(forward, _HOP_SPEED, float("inf"), _HOP_SPEED / 2, "linear", value_at_margin=0.5)
    return _standing(trajectory) * hopping


_HEIGHTS = at_states("inertial_position/torso", "inertial_position/foot")


def stand() -> Task:
    """Keep the torso above the foot, with little control."""
    return suite_task("hopper", "stand", _spec, _stand, (*_HEIGHTS, *in_steps("ctrl")))


def hop() -> Task:
    """Hop forwards at 2 m/s or more."""
    requests = (*_HEIGHTS, *at_states("center_of_mass_velocity/torso"))
    return suite_task("hopper", "hop", _spec, _hop, requests)
