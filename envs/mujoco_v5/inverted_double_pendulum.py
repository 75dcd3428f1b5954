"""Cart with a two-link pole as in Gymnasium: keep the tip above 1 m.

The environment reads the tip's site as `mj_step` leaves it, at the last Runge-Kutta stage. The velocities that it reads
are those of the new state.
"""

from __future__ import annotations

from torch import Tensor

from envs.mujoco_v5.adapter import gym_task
from envs.task import Task, TaskParams, at_states
from envs.trajectory import Trajectory


def _tip(trajectory: Trajectory) -> tuple[Tensor, Tensor]:
    x, _, z = trajectory.signals.after("raw/site_xpos", slice(3)).unbind(-1)
    return x, z


def _reward(trajectory: Trajectory, params: TaskParams) -> Tensor:
    x, z = _tip(trajectory)
    upper, lower = trajectory.signals.after("qvel", slice(1, 3)).unbind(-1)
    distance = 0.01 * x.square() + (z - 2).square()
    velocity = 1e-3 * upper.square() + 5e-3 * lower.square()
    return 10.0 * ~_termination(trajectory, params) - distance - velocity


def _termination(trajectory: Trajectory, _: TaskParams) -> Tensor:
    return _tip(trajectory)[1] <= 1


def inverted_double_pendulum() -> Task:
    """Keep both links upright by moving the cart."""
    requests = at_states("raw/site_xpos", "qvel")
    return gym_task("InvertedDoublePendulum-v5", _reward, requests, termination=_termination)
