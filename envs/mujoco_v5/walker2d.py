"""Planar biped (Erez, Tassa and Todorov 2011) as in Gymnasium: walk forwards without falling."""

from __future__ import annotations

from torch import Tensor

from envs.mujoco_v5.adapter import gym_task
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory


def _healthy(trajectory: Trajectory) -> Tensor:
    height, angle = trajectory.signals.after("qpos", slice(1, 3)).unbind(-1)
    return (height > 0.8) & (height < 2.0) & (angle.abs() < 1.0)


def _reward(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    forward = (signals.after("qpos") - signals.before("qpos"))[..., 0] / trajectory.dt
    control = signals.last("ctrl").square().sum(-1)
    return forward + _healthy(trajectory) - 1e-3 * control


def _termination(trajectory: Trajectory, _: TaskParams) -> Tensor:
    return ~_healthy(trajectory)


def walker2d() -> Task:
    """Walk forwards as fast as possible on two legs."""
    requests = (*at_states("qpos"), *in_steps("ctrl"))
    return gym_task("Walker2d-v5", _reward, requests, termination=_termination)
