"""The schema of the YAML file of `envs.mjcf.task`, with the reward and termination that it defines."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from envs.backup_config import BackUpConfig
from envs.mjcf.reset import Reset
from envs.numbers import Number, Positive, Whole
from envs.physics.signals import request
from envs.requests import Request
from envs.residuals import Residual
from envs.task import TaskParams
from envs.trajectory import Trajectory
from envs.zones import Zone


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bound(_Closed):
    """Ends the episode when a component of the signal leaves [lower, upper] or is not finite."""

    signal: str
    component: Annotated[Whole, Field(ge=0)] | None = None  # all of them where None
    lower: Number | None = None  # in the signal's unit
    upper: Number | None = None  # in the signal's unit

    @model_validator(mode="after")
    def _check(self) -> Bound:
        if self.lower is None and self.upper is None:
            raise ValueError("lower, upper, or both are needed")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower {self.lower} is above upper {self.upper}")
        return self

    @property
    def request(self) -> Request:
        return request(self.signal)

    def left(self, trajectory: Trajectory) -> Tensor:
        """Whether the state after each step is outside, or a force at any of its substeps, (N,H) bool."""
        name, recorded = self.signal, trajectory.signals
        value = recorded.interval[name] if name in recorded.interval else recorded.after(name)[:, :, None]
        if self.component is not None:
            value = value[..., self.component : self.component + 1]
        lower = -torch.inf if self.lower is None else self.lower
        upper = torch.inf if self.upper is None else self.upper
        inside = value.isfinite() & (value >= lower) & (value <= upper)
        return ~inside.flatten(2).all(-1)


class MjcfConfig(_Closed):
    """One YAML file."""

    model: str  # path of the MJCF file, relative to the YAML file
    control_period: Positive | None = None  # s; or `substeps`
    substeps: Annotated[Whole, Field(ge=1)] | None = None  # physics steps per control step
    frames: Annotated[Whole, Field(ge=1)] = 1000  # control steps per episode
    observation: Annotated[tuple[str, ...], Field(min_length=1)] = ("qpos", "qvel")
    alive: Number = 0.0  # reward of every step, before costs
    reward: tuple[Residual, ...] = ()
    reset: Reset = Reset()
    termination: tuple[Bound, ...] = ()
    guardrails: tuple[dict[str, Any], ...] = ()  # not validated here; envs.guardrails.registry.build does that
    back_up: BackUpConfig | None = None
    camera: str | Whole | None = None  # of pictures, name or index; None chooses one that shows what moves
    zones: dict[str, Zone] = {}  # places in the world, for `zone_distance` signals; no element is added

    @model_validator(mode="after")
    def _check(self) -> MjcfConfig:
        if (self.control_period is None) == (self.substeps is None):
            raise ValueError("one of control_period and substeps is needed")
        return self

    @property
    def requests(self) -> tuple[Request, ...]:
        """The signals that reward and termination read."""
        terms = [request for term in self.reward for request in term.requests]
        return tuple(dict.fromkeys([*terms, *(bound.request for bound in self.termination)]))

    def rewards(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """Reward of every step, (N,H)."""
        total = torch.full(trajectory.actions.shape[:2], self.alive, dtype=torch.float64)
        for term in self.reward:
            total = total - term.step_cost(trajectory, params)
        return total

    def ends(self, trajectory: Trajectory, _: TaskParams) -> Tensor:
        """Whether each step leaves one of the bounds, (N,H) bool."""
        ended = torch.zeros(trajectory.actions.shape[:2], dtype=torch.bool)
        for bound in self.termination:
            ended = ended | bound.left(trajectory)
        return ended
