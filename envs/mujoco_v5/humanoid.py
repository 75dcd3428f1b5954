"""Humanoid (Tassa, Erez and Todorov 2012) as in Gymnasium: walk forwards without falling.

The environment reads the bodies' centres of mass as `mj_step` leaves them, at the last Runge-Kutta stage, and contact
wrenches computed at that stage.
"""

from __future__ import annotations

import torch
from torch import Tensor

from envs.mujoco_v5.adapter import gym_task, masses
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory

_ID = "Humanoid-v5"


def _healthy(trajectory: Trajectory) -> Tensor:
    height = trajectory.signals.after("qpos", 2)
    return (height > 1.0) & (height < 2.0)


def contact_cost(trajectory: Trajectory) -> Tensor:
    """5e-7 times the sum of the squared contact wrenches on all bodies, at most 10, (N,H)."""
    wrench = trajectory.signals.after("post_constraint/cfrc_ext")
    return (5e-7 * wrench.square().sum(-1)).clamp(max=10.0)


def _reward(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    mass = torch.from_numpy(masses(_ID))
    x = signals.state["raw/xipos"].unflatten(-1, (-1, 3))[..., 0] @ mass / mass.sum()
    forward = (x[:, 1:] - x[:, :-1]) / trajectory.dt
    control = signals.last("ctrl").square().sum(-1)
    return 1.25 * forward + 5.0 * _healthy(trajectory) - 0.1 * control - contact_cost(trajectory)


def _termination(trajectory: Trajectory, _: TaskParams) -> Tensor:
    return ~_healthy(trajectory)


def humanoid() -> Task:
    """Walk forwards as fast as possible without falling."""
    requests = (*at_states("qpos", "raw/xipos", "post_constraint/cfrc_ext"), *in_steps("ctrl"))
    return gym_task(_ID, _reward, requests, termination=_termination)
