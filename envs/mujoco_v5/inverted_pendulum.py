"""Cart-pole (Barto, Sutton and Anderson 1983) as in Gymnasium: 1 per step while the pole stands."""

from __future__ import annotations

from torch import Tensor

from envs.backup import BackUp
from envs.mujoco_v5.adapter import gym_task
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory

_BRAKE = BackUp(seconds=0.8, rest_speed=0.1, gain=3.0, joints=("slider",))  # the pole falls


def _reward(trajectory: Trajectory, params: TaskParams) -> Tensor:
    return (~_termination(trajectory, params)).double()


def _termination(trajectory: Trajectory, _: TaskParams) -> Tensor:
    qpos, qvel = trajectory.signals.after("qpos"), trajectory.signals.after("qvel")
    finite = qpos.isfinite().all(-1) & qvel.isfinite().all(-1)
    return ~finite | (qpos[..., 1].abs() > 0.2)


def inverted_pendulum() -> Task:
    """Keep the pole within 0.2 rad of upright."""
    return gym_task("InvertedPendulum-v5", _reward, at_states("qpos", "qvel"), termination=_termination, back_up=_BRAKE)
