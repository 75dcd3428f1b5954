"""Planar point mass as in dm_control: move to the target in the middle."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import torch
from dm_control.suite import point_mass as dm
from torch import Tensor

from envs.backup import BackUp
from envs.rewards import tolerance
from envs.suite.adapter import suite_task, xml_spec
from envs.task import Task, TaskParams, at_states, in_steps
from envs.trajectory import Trajectory

_TARGET = 0.015  # m, radius
_LONGEST = 0.5  # s, the longest edge that may end at a goal; see `_reward_bound`


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _reach(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    to_target = signals.after("geom_position/target") - signals.after("geom_position/pointmass")
    near = tolerance(to_target.norm(dim=-1), 0, _TARGET, margin=_TARGET)
    small = tolerance(signals.last("ctrl"), margin=1, value_at_margin=0, sigmoid="quadratic").mean(-1)
    return near * (small + 4) / 5


def _reward_bound(model: mujoco.MjModel, period: float) -> Callable[[Tensor], Tensor]:
    """An admissible and consistent lower bound on the cost-to-go, where a step costs 1 - reward.

    Speed: along each axis the motor's force is at most F, and the damping is b. MuJoCo's step sets the new velocity to
    a weighted mean of the old velocity and force / b, and moves the mass with the new velocity. So the speed never
    exceeds u, the greater of F/b and the present speed.

    Bound: let d be the distance to the target along an axis. Then at least (d - r) / (u period) - 1 steps end further
    than r from the target. Each of them costs at least 1 - `tolerance` at r, because a reward is at most `tolerance` at
    its distance, which decreases with the distance.

    Consistency: in a step, d decreases by at most u period, and u does not increase. So the bound decreases by no more
    than the cost of a step that ends beyond r, and it is 0 within one step of r. The maximum of two consistent bounds,
    one per axis, is consistent too.

    Stops: they are critically damped soft springs, which return less speed than they absorb. A mass that arrives with
    up to five times F/b leaves them with at most F/b. That is not true of a mass that arrives faster, which no motor
    can cause, or that starts deep inside a stop.

    Goals: the bound must be 0 at a goal, and a planner may take as a goal the end of an edge that has earned half of
    its largest possible reward. So r is chosen such that no such edge of up to `_LONGEST` ends beyond r. Beyond twice
    the target's radius, a step earns less than a tenth. An edge that ends m steps' way beyond that has earned less than
    a tenth in m + 1 of its K steps. It can have earned half in total only if m + 1 <= K / 1.8.

    Target, force and damping are read from the model. Returns a function of coordinates (N,4) -> (N,).
    """
    data = mujoco.MjData(model)
    force = np.zeros(model.nv)  # N, the largest along each axis, with the model's own gears, tendons and limits
    for motor, limits in enumerate(model.actuator_ctrlrange):
        data.ctrl[:] = 0
        data.ctrl[motor] = np.abs(limits).max()
        mujoco.mj_forward(model, data)
        force += np.abs(data.qfrc_actuator)
    top = torch.from_numpy(force / model.dof_damping)  # m/s
    target = torch.from_numpy((data.geom("target").xpos - data.geom("pointmass").xpos)[: model.nq])  # m, from qpos = 0

    def bound(coordinates: Tensor) -> Tensor:
        place, velocity = coordinates.tensor_split(2, 1)
        speed = torch.maximum(velocity.abs(), top)
        near = 2 * _TARGET + speed * _LONGEST / 1.8
        steps = ((target - place).abs() - near) / (speed * period) - 1
        missed = 1 - tolerance(near, 0, _TARGET, margin=_TARGET)
        return (steps.clamp(min=0) * missed).amax(1)

    return bound


def easy() -> Task:
    """Reach the target and stay there, with little control."""
    requests = (*at_states("geom_position/target", "geom_position/pointmass"), *in_steps("ctrl"))
    back_up = BackUp(seconds=1.0, rest_speed=0.01, gain=20.0)
    return suite_task("point_mass", "easy", _spec, _reach, requests, back_up=back_up, reward_bound=_reward_bound)
