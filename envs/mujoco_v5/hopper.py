"""Hopper (Erez, Tassa and Todorov 2011) as in Gymnasium: hop forwards without falling."""

from __future__ import annotations

import torch
from torch import Tensor

from envs.mujoco_v5.adapter import gym_task
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory


def _healthy(trajectory: Trajectory) -> Tensor:
    qpos, qvel = trajectory.signals.after("qpos"), trajectory.signals.after("qvel")
    small = (torch.cat([qpos[..., 2:], qvel], -1).abs() < 100).all(-1)
    return small & (qpos[..., 1] > 0.7) & (qpos[..., 1] < float("inf")) & (qpos[..., 2].abs() < 0.2)


def _reward(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    forward = (signals.after("qpos") - signals.before("qpos"))[..., 0] / trajectory.dt
    control = signals.last("ctrl").square().sum(-1)
    return forward + _healthy(trajectory) - 1e-3 * control


def _termination(trajectory: Trajectory, _: TaskParams) -> Tensor:
    return ~_healthy(trajectory)


def hopper() -> Task:
    """Hop forwards as fast as possible on one leg."""
    requests = (*at_states("qpos", "qvel"), *in_steps("ctrl"))
    return gym_task("Hopper-v5", _reward, requests, termination=_termination)
