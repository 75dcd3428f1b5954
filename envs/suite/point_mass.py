"""Planar point mass as in dm_control: move to the target in the middle."""

from __future__ import annotations

from dm_control.suite import point_mass as dm
from torch import Tensor

from envs.backup import BackUp
from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory

_TARGET = 0.015  # m, radius


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _reach(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    to_target = signals.after("geom_position/target") - signals.after("geom_position/pointmass")
    near = tolerance(to_target.norm(dim=-1), 0, _TARGET, margin=_TARGET)
    small = tolerance(signals.last("ctrl"), margin=1, value_at_margin=0, sigmoid="quadratic").mean(-1)
    return near * (small + 4) / 5


def easy() -> Task:
    """Reach the target and stay there, with little control."""
    requests = (*at_states("geom_position/target", "geom_position/pointmass"), *in_steps("ctrl"))
    back_up = BackUp(seconds=1.0, rest_speed=0.01, gain=20.0)
    return suite_task("point_mass", "easy", _spec, _reach, requests, back_up=back_up)
