"""Acrobot (Coulom 2002) as in dm_control: swing the underactuated double pendulum up and balance it."""

from __future__ import annotations

from functools import partial

from dm_control.suite import acrobot as dm
from torch import Tensor

from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory

_TARGET = 0.2  # m, radius


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _reach(trajectory: Trajectory, _: TaskParams, margin: float) -> Tensor:
    signals = trajectory.signals
    to_target = signals.after("site_position/target") - signals.after("site_position/tip")
    return tolerance(to_target.norm(dim=-1), 0, _TARGET, margin)


_REQUESTS = at_states("site_position/target", "site_position/tip")


def swingup() -> Task:
    """Bring the tip to the target above."""
    return suite_task("acrobot", "swingup", _spec, partial(_reach, margin=1.0), _REQUESTS)


def swingup_sparse() -> Task:
    """Bring the tip to the target above; reward 0 or 1."""
    return suite_task("acrobot", "swingup_sparse", _spec, partial(_reach, margin=0.0), _REQUESTS)
