"""Planar half-cheetah (Wawrzyński 2009) as in dm_control: run at 10 m/s."""

from __future__ import annotations

from dm_control.suite import cheetah as dm
from torch import Tensor

from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory

_RUN_SPEED = 10.0  # m/s


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _run(trajectory: Trajectory, _: TaskParams) -> Tensor:
    forward = trajectory.signals.after("center_of_mass_velocity/torso", 0)
    return tolerance(forward, _RUN_SPEED, float("inf"), _RUN_SPEED, "linear", value_at_margin=0)


def run() -> Task:
    """Run forwards; the reward grows with the speed up to 10 m/s."""
    return suite_task("cheetah", "run", _spec, _run, at_states("center_of_mass_velocity/torso"))
