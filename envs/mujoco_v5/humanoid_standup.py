"""Humanoid (Tassa, Erez and Todorov 2012) lying on its back as in Gymnasium: stand up.

The environment reads contact wrenches as computed at the last Runge-Kutta stage of `mj_step`.
"""

from __future__ import annotations

from torch import Tensor

from envs.mujoco_v5.adapter import gym_task
from envs.mujoco_v5.humanoid import contact_cost
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory

_TIMESTEP = 0.003  # s, of the real model, whatever a planning model uses


def _reward(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    up = signals.after("qpos", 2) / _TIMESTEP
    return up - 0.1 * signals.last("ctrl").square().sum(-1) - contact_cost(trajectory) + 1


def humanoid_standup() -> Task:
    """Get the torso as high as possible."""
    requests = (*at_states("qpos", "post_constraint/cfrc_ext"), *in_steps("ctrl"))
    return gym_task("HumanoidStandup-v5", _reward, requests)
