"""Two-link arm as in Gymnasium: bring the fingertip to the target.

The environment reads body positions as `mj_step` leaves them, at the last Runge-Kutta stage. The
target is a part of the state (two slide joints).
"""

from __future__ import annotations

from torch import Tensor

from envs.backup import BackUp
from envs.mujoco_v5.adapter import body, gym_task
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory

_ID = "Reacher-v5"
_BRAKE = BackUp(seconds=1.0, rest_speed=0.1, gain=0.3, joints=("joint0", "joint1"))


def _reward(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    xpos = signals.after("raw/xpos").unflatten(-1, (-1, 3))
    distance = (xpos[..., body(_ID, "fingertip"), :] - xpos[..., body(_ID, "target"), :]).norm(dim=-1)
    return -distance - signals.last("ctrl").square().sum(-1)


def reacher() -> Task:
    """Bring the fingertip to the target."""
    return gym_task(_ID, _reward, (*at_states("raw/xpos"), *in_steps("ctrl")), back_up=_BRAKE)
