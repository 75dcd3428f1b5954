"""Swimmer (Coulom 2002) as in dm_control: bring the nose of 6 or 15 links to a target."""

from __future__ import annotations

from functools import partial

from dm_control.suite import swimmer as dm
from torch import Tensor

from envs.backup import BackUp
from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory

_TARGET_RADIUS = 0.1  # m


def _spec(links: int):
    return xml_spec(*dm.get_model_and_assets(links))


def _near(trajectory: Trajectory, _: TaskParams) -> Tensor:
    """Closeness of nose and target, (N,H), measured in the plane because both are at the same height."""
    signals = trajectory.signals
    offset = signals.after("geom_position/target") - signals.after("geom_position/nose")
    distance = offset[..., :2].norm(dim=-1)
    return tolerance(distance, 0.0, _TARGET_RADIUS, margin=5 * _TARGET_RADIUS, sigmoid="long_tail")


def _swimmer(links: int) -> Task:
    return suite_task(
        "swimmer",
        f"swimmer{links}",
        partial(_spec, links),
        _near,
        at_states("geom_position/nose", "geom_position/target"),
        params=("geom_pos", "light_pos"),
        back_up=BackUp(seconds=2.0, rest_speed=0.3, gain=0.1),  # the fluid's drag brakes too
    )


def swimmer6() -> Task:
    """Swim to the target with six links."""
    return _swimmer(6)


def swimmer15() -> Task:
    """Swim to the target with fifteen links."""
    return _swimmer(15)
