"""Quadruped as in dm_control: walk and run, from any orientation; some native controls reach 1.1."""

from __future__ import annotations

from functools import partial

from dm_control.suite import common
from dm_control.suite import quadruped as dm
from torch import Tensor

from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import RewardFunction, Task, TaskParams, at_states
from envs.trajectory import Trajectory

_INF = float("inf")
_SECONDS = 20  # s, an episode; the floor is as large as an episode at full speed needs


def _spec(speed: float):
    return xml_spec(dm.make_model(floor_size=_SECONDS * speed), common.ASSETS)


def _forward(speed: float) -> RewardFunction:
    def reward(trajectory: Trajectory, _: TaskParams) -> Tensor:
        signals = trajectory.signals
        axis = signals.after("body_z_axis/torso", 2)
        upright = tolerance(axis, 1.0, _INF, margin=2.0, value_at_margin=0, sigmoid="linear")
        forward = signals.after("sensor/velocimeter", 0)
        move = tolerance(forward, speed, _INF, margin=speed, value_at_margin=0.5, sigmoid="linear")
        return upright * move

    return reward


def _quadruped(task: str, speed: float) -> Task:
    requests = at_states("body_z_axis/torso", "sensor/velocimeter")
    return suite_task("quadruped", task, partial(_spec, speed), _forward(speed), requests)


def walk() -> Task:
    """Walk forward at 0.5 m/s."""
    return _quadruped("walk", 0.5)


def run() -> Task:
    """Run forward at 5 m/s."""
    return _quadruped("run", 5.0)
