"""Planar cheetah (Wawrzyński 2009) as in Gymnasium: run forwards; there is no termination."""

from __future__ import annotations

from torch import Tensor

from envs.mujoco_v5.adapter import gym_task
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory


def _reward(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    forward = (signals.after("qpos") - signals.before("qpos"))[..., 0] / trajectory.dt
    return forward - 0.1 * signals.last("ctrl").square().sum(-1)


def half_cheetah() -> Task:
    """Run forwards as fast as possible."""
    return gym_task("HalfCheetah-v5", _reward, (*at_states("qpos"), *in_steps("ctrl")))
