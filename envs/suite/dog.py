"""Dog as in dm_control: stand, walk, trot and run."""

from __future__ import annotations

import math
from functools import partial

import torch
from dm_control.suite import dog as dm
from torch import Tensor

from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import RewardFunction, Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory

_INF = float("inf")
_UPRIGHT = math.cos(math.radians(30))
_SECONDS = 15  # s, an episode; the floor is as large as an episode at full speed needs
_UPRIGHT_BODIES = ("skull", "torso", "pelvis")
_TOUCHES = tuple(f"sensor/{foot}" for foot in ("palm_L", "palm_R", "sole_L", "sole_R"))

_STAND = (
    *at_states("body_position/torso", "body_position/pelvis"),
    *at_states(*(f"body_z_axis/{body}" for body in _UPRIGHT_BODIES)),
    *in_steps(*_TOUCHES),
)
_MOVE = (*_STAND, *at_states("center_of_mass_velocity/torso", "body_x_axis/torso"))


def _spec(speed: int):
    return xml_spec(*dm.get_model_and_assets(speed * _SECONDS))


def _standing(trajectory: Trajectory, params: TaskParams) -> Tensor:
    """Torso and pelvis high, three bodies upright, weight on the feet, (N,H).

    Touch belongs to a substep, and the environment reads that of the last substep.
    """
    signals = trajectory.signals
    torso, pelvis = (float(height) for height in params.attributes["_stand_height"])
    weight = float(params.attributes["_body_weight"])
    high = tolerance(signals.after("body_position/torso", 2), torso, _INF, margin=torso)
    high = high * tolerance(signals.after("body_position/pelvis", 2), pelvis, _INF, margin=pelvis)
    axes = torch.stack([signals.after(f"body_z_axis/{body}", 2) for body in _UPRIGHT_BODIES], -1)
    upright = tolerance(axes, _UPRIGHT, _INF, margin=_UPRIGHT + 1, value_at_margin=0, sigmoid="linear")
    force = torch.cat([signals.last(touch) for touch in _TOUCHES], -1).sum(-1)
    touch = tolerance(force, weight, _INF, margin=weight, value_at_margin=0.9, sigmoid="linear")
    return high * upright.prod(-1) * touch


def _moving(speed: float) -> RewardFunction:
    def reward(trajectory: Trajectory, params: TaskParams) -> Tensor:
        signals = trajectory.signals
        velocity = signals.after("center_of_mass_velocity/torso")
        forward = (velocity * signals.after("body_x_axis/torso")).sum(-1)
        move = tolerance(forward, speed, 2 * speed, margin=max(1.0, speed), value_at_margin=0, sigmoid="linear")
        return _standing(trajectory, params) * ((4 * move + 1) / 5)

    return reward


def _dog(task: str, speed: int) -> Task:
    return suite_task(
        "dog",
        task,
        partial(_spec, speed or 1),
        _moving(speed) if speed else _standing,
        _MOVE if speed else _STAND,
        attributes=("_stand_height", "_body_weight"),
    )


def stand() -> Task:
    """Stand upright with the weight on the feet."""
    return _dog("stand", 0)


def walk() -> Task:
    """Walk forward at 1 m/s."""
    return _dog("walk", 1)


def trot() -> Task:
    """Trot forward at 3 m/s."""
    return _dog("trot", 3)


def run() -> Task:
    """Run forward at 9 m/s."""
    return _dog("run", 9)
