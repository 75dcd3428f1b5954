"""Seven-joint arm as in Gymnasium: push the cylinder to the goal.

The environment reads body positions as `mj_step` leaves them, one substep behind the state.
"""

from __future__ import annotations

from torch import Tensor

from envs.backup import BackUp
from envs.mujoco_v5.adapter import body, gym_task
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory

_ID = "Pusher-v5"
_ARM = ("shoulder_pan", "shoulder_lift", "upper_arm_roll", "elbow_flex", "forearm_roll", "wrist_flex", "wrist_roll")
_BRAKE = BackUp(seconds=1.0, rest_speed=0.2, gain=1.0, joints=tuple(f"r_{name}_joint" for name in _ARM))


def _reward(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    xpos = signals.after("raw/xpos").unflatten(-1, (-1, 3))
    tip, thing, goal = (xpos[..., body(_ID, name), :] for name in ("tips_arm", "object", "goal"))
    near, distance = (thing - tip).norm(dim=-1), (thing - goal).norm(dim=-1)
    return -distance - 0.5 * near - 0.1 * signals.last("ctrl").square().sum(-1)


def pusher() -> Task:
    """Push the cylinder to the goal with the arm's tip."""
    return gym_task(_ID, _reward, (*at_states("raw/xpos"), *in_steps("ctrl")), back_up=_BRAKE)
