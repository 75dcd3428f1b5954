"""Fish as in dm_control: turn upright, or swim to a random target."""

from __future__ import annotations

from dm_control.suite import fish as dm
from torch import Tensor

from envs.backup import BackUp
from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory

_TARGET = 0.04  # m, radius
_MOUTH = 0.005  # m, radius
_DRIFT = BackUp(seconds=1.5, rest_speed=0.3, gain=0.0)  # no control: the fluid's drag brakes


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _upright(trajectory: Trajectory, _: TaskParams) -> Tensor:
    return tolerance(trajectory.signals.after("body_z_axis/torso", 2), 1, 1, margin=1)


def _swim(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    to_target = signals.after("geom_position/target") - signals.after("geom_position/mouth")
    radii = _TARGET + _MOUTH
    in_target = tolerance(to_target.norm(dim=-1), 0, radii, margin=2 * radii)
    upright = (signals.after("body_z_axis/torso", 2) + 1) / 2
    return (7 * in_target + upright) / 8


def upright() -> Task:
    """Turn upright."""
    return suite_task(
        "fish", "upright", _spec, _upright, at_states("body_z_axis/torso"), params=("geom_rgba",), back_up=_DRIFT
    )


def swim() -> Task:
    """Bring the mouth to the target, upright."""
    requests = at_states("body_z_axis/torso", "geom_position/mouth", "geom_position/target")
    return suite_task("fish", "swim", _spec, _swim, requests, params=("geom_pos",), back_up=_DRIFT)
