"""Four-legged ant (Schulman et al. 2015) as in Gymnasium: run in the x direction without falling.

The environment reads the torso's position as `mj_step` leaves it, at the last Runge-Kutta stage, and contact wrenches
computed at that stage.
"""

from __future__ import annotations

from torch import Tensor

from envs.mujoco_v5.adapter import gym_task
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory


def _healthy(trajectory: Trajectory) -> Tensor:
    qpos, qvel = trajectory.signals.after("qpos"), trajectory.signals.after("qvel")
    finite = qpos.isfinite().all(-1) & qvel.isfinite().all(-1)
    return finite & (qpos[..., 2] >= 0.2) & (qpos[..., 2] <= 1.0)


def _reward(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    torso_x = 3  # xpos of body 1
    forward = (signals.after("raw/xpos") - signals.before("raw/xpos"))[..., torso_x] / trajectory.dt
    control = signals.last("ctrl").square().sum(-1)
    contact = signals.after("post_constraint/cfrc_ext").clamp(-1.0, 1.0).square().sum(-1)
    return forward + _healthy(trajectory) - 0.5 * control - 5e-4 * contact


def _termination(trajectory: Trajectory, _: TaskParams) -> Tensor:
    return ~_healthy(trajectory)


def ant() -> Task:
    """Run forwards as fast as possible on four legs."""
    requests = (*at_states("qpos", "qvel", "raw/xpos", "post_constraint/cfrc_ext"), *in_steps("ctrl"))
    return gym_task("Ant-v5", _reward, requests, termination=_termination)
