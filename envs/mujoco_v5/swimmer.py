"""Three-link swimmer (Coulom 2002) as in Gymnasium: swim in the x direction through a viscous fluid."""

from __future__ import annotations

from torch import Tensor

from envs.backup import BackUp
from envs.mujoco_v5.adapter import gym_task
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory

_DRIFT = BackUp(seconds=2.0, rest_speed=0.3, gain=0.1)  # the fluid's drag brakes too


def _reward(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    forward = (signals.after("qpos") - signals.before("qpos"))[..., 0] / trajectory.dt
    return forward - 1e-4 * signals.last("ctrl").square().sum(-1)


def swimmer() -> Task:
    """Swim forwards as fast as possible."""
    return gym_task("Swimmer-v5", _reward, (*at_states("qpos"), *in_steps("ctrl")), back_up=_DRIFT)
