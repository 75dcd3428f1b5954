"""Humanoid (Tassa, Erez and Todorov 2012) as in dm_control: stand, walk and run."""

from __future__ import annotations

from dm_control.suite import humanoid as dm
from torch import Tensor

from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import RewardFunction, Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory

_INF = float("inf")
_STAND_HEIGHT = 1.4  # m, of the head
_REQUESTS = (
    *at_states("body_position/head", "body_z_axis/torso", "center_of_mass_velocity/torso"),
    *in_steps("ctrl"),
)


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _posture(trajectory: Trajectory) -> Tensor:
    """Head up, torso upright, small controls, (N,H)."""
    signals = trajectory.signals
    head = signals.after("body_position/head", 2)
    standing = tolerance(head, _STAND_HEIGHT, _INF, margin=_STAND_HEIGHT / 4)
    axis = signals.after("body_z_axis/torso", 2)
    upright = tolerance(axis, 0.9, _INF, margin=1.9, value_at_margin=0, sigmoid="linear")
    control = tolerance(signals.last("ctrl"), margin=1, value_at_margin=0, sigmoid="quadratic").mean(-1)
    return standing * upright * ((4 + control) / 5)


def _still(trajectory: Trajectory, _: TaskParams) -> Tensor:
    horizontal = trajectory.signals.after("center_of_mass_velocity/torso", slice(2))
    return _posture(trajectory) * tolerance(horizontal, margin=2).mean(-1)


def _moving(speed: float) -> RewardFunction:
    def reward(trajectory: Trajectory, _: TaskParams) -> Tensor:
        horizontal = trajectory.signals.after("center_of_mass_velocity/torso", slice(2))
        move = tolerance(horizontal.norm(dim=-1), speed, _INF, margin=speed, value_at_margin=0, sigmoid="linear")
        return _posture(trajectory) * ((5 * move + 1) / 6)

    return reward


def stand() -> Task:
    """Stand up and do not move."""
    return suite_task("humanoid", "stand", _spec, _still, _REQUESTS)


def walk() -> Task:
    """Walk at 1 m/s in any direction."""
    return suite_task("humanoid", "walk", _spec, _moving(1.0), _REQUESTS)


def run() -> Task:
    """Run at 10 m/s in any direction."""
    return suite_task("humanoid", "run", _spec, _moving(10.0), _REQUESTS)
