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
_LONGEST = 0.5  # s, of an edge that may end at a goal; see `_reward_bound`


def _spec():
    return xml_spec(*dm.get_model_and_assets())


def _reach(trajectory: Trajectory, _: TaskParams) -> Tensor:
    signals = trajectory.signals
    to_target = signals.after("geom_position/target") - signals.after("geom_position/pointmass")
    near = tolerance(to_target.norm(dim=-1), 0, _TARGET, margin=_TARGET)
    small = tolerance(signals.last("ctrl"), margin=1, value_at_margin=0, sigmoid="quadratic").mean(-1)
    return near * (small + 4) / 5


def _reward_bound(model: mujoco.MjModel, period: float) -> Callable[[Tensor], Tensor]:
    """A lower bound on the reward that will still be missed, whatever the mass does.

    Along each axis a motor pushes with F at most against a damping b. A step of MuJoCo's makes the new velocity a mean
    of the old one and of the motor's force over b, which is F/b at most, and moves the mass by it: so its speed never
    exceeds u, the greater of F/b and what it is. From d away along an axis, at least (d - r) / (u period) - 1 steps
    then end further than r from the target. Each misses 1 minus the reward at r or more, as no reward at a distance is
    greater than `tolerance` there, which falls with it. Over a step d falls by u period at most and u does not rise, so
    the bound falls by no more than a step misses that ends beyond r, and is 0 from where r is a step away: it is
    consistent. The greater of two consistent bounds, one for each axis, is one too.

    The stops are soft springs, critically damped: they give back less speed than they take. (A mass that comes with up
    to five times F/b leaves them with no more than F/b; one that is thrown at them faster, as no motor can, or is put
    deep into them, would not.)

    At a goal the bound must be 0, and a planner may take for one the end of an edge that has earned half of what it
    could: r is where no such edge of up to `_LONGEST` ends. Beyond twice the target's radius less than a tenth is
    earned, so an edge that ends m steps' way further has earned less than a tenth in m + 1 of its K steps, which can be
    half in all only where m + 1 <= K / 1.8.

    Target, force and damping are read from the model. Returns a function of coordinates (N,4) -> (N,).
    """
    data = mujoco.MjData(model)
    force = np.zeros(model.nv)  # N, the most along each axis, by the model's own gears, tendons and limits
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
