"""Two-link planar reacher as in dm_control: bring the finger to a random target."""

from __future__ import annotations

from dm_control.suite import reacher as dm
from torch import Tensor

from envs.backup import BackUp
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _touch(trajectory: Trajectory, _: TaskParams) -> Tensor:
    # Two spheres at the same height, whose radii a reset writes. They touch where the distance of their surfaces is 0.
    return (trajectory.signals.after("geom_distance/finger/target", 0) <= 0).double()


_PARAMS = ("geom_pos", "geom_size")
_BRAKE = BackUp(seconds=1.0, rest_speed=0.05, gain=0.1)
_REQUESTS = at_states("geom_distance/finger/target")


def easy() -> Task:
    """Touch a target of 5 cm radius; reward 0 or 1."""
    return suite_task("reacher", "easy", _spec, _touch, _REQUESTS, params=_PARAMS, back_up=_BRAKE)


def hard() -> Task:
    """Touch a target of 1.5 cm radius; reward 0 or 1."""
    return suite_task("reacher", "hard", _spec, _touch, _REQUESTS, params=_PARAMS, back_up=_BRAKE)
