"""Two-link planar reacher as in dm_control: bring the finger to a random target."""

from __future__ import annotations

from functools import partial

import torch
from dm_control.suite import reacher as dm
from torch import Tensor

from envs.backup import BackUp
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory

_FINGER = 0.01  # m, radius
_BIG_TARGET = 0.05  # m, radius
_SMALL_TARGET = 0.015  # m, radius


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _touch(trajectory: Trajectory, _: TaskParams, radius: float) -> Tensor:
    signals = trajectory.signals
    to_target = signals.after("geom_position/target")[..., :2] - signals.after("geom_position/finger")[..., :2]
    return (torch.linalg.vector_norm(to_target, dim=-1) <= radius + _FINGER).double()


_PARAMS = ("geom_pos", "geom_size")
_BRAKE = BackUp(seconds=1.0, rest_speed=0.05, gain=0.1)
_REQUESTS = at_states("geom_position/finger", "geom_position/target")


def easy() -> Task:
    """Touch a target of 5 cm radius; reward 0 or 1."""
    return suite_task(
        "reacher", "easy", _spec, partial(_touch, radius=_BIG_TARGET), _REQUESTS, params=_PARAMS, back_up=_BRAKE
    )


def hard() -> Task:
    """Touch a target of 1.5 cm radius; reward 0 or 1."""
    return suite_task(
        "reacher", "hard", _spec, partial(_touch, radius=_SMALL_TARGET), _REQUESTS, params=_PARAMS, back_up=_BRAKE
    )
