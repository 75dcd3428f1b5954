"""Goals: what a person asks for at run time, as a predicate on signals or as an observation to bring about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from envs.errors import TelosError
from envs.numbers import Number, Scale, Whole
from envs.physics.signals import request
from envs.requests import Request
from envs.residuals import Residual
from envs.trajectory import Trajectory

TEXT = re.compile(
    r"\s*(?P<signal>[^\s=\[]+)\s*(\[(?P<component>\d+)\])?\s*=\s*(?P<target>\S+)\s*(±|\+-)\s*(?P<within>\S+)\s*"
)
ALLOWED = "SIGNAL = TARGET ± WITHIN, as in `joint_position/slider = 0.5 ± 0.05`; +- for ±, ; between several"


class Near(BaseModel):
    """A signal that is within a distance of a target, at the state after a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    signal: str
    target: Number | tuple[Number, ...] = 0.0  # a number, or one per component, in the signal's unit
    within: Scale = Field(description="largest distance of each component, in the signal's unit")
    component: Annotated[Whole, Field(ge=0)] | None = None  # of the signal's D; all of them where None
    period: Scale | None = None  # values that differ by whole periods count as equal, as angles by 2 pi

    @property
    def request(self) -> Request:
        """Raises TelosError for a force, which exists only during a step."""
        found = request(self.signal)
        if found.at != "state":
            raise TelosError("goal.signal", f"{self.signal}, a force", "a signal of the state, as a position")
        return found

    @cached_property
    def residual(self) -> Residual:
        """The cost that falls towards the target: the distance in units of `within`, rounded off at the target."""
        return Residual(
            signal=self.signal,
            weight=1 / self.within,
            component=self.component,
            target=self.target,
            period=self.period,
            norm="l2",
            width=self.within,
        )

    def holds(self, trajectory: Trajectory) -> Tensor:
        """Whether it holds after each step, (N,H) bool; never where the signal is NaN."""
        value = self.residual.value(trajectory)
        return (value.abs() <= self.within).all(-1)

    def text(self) -> str:
        """As `parsed` reads it."""
        component = "" if self.component is None else f"[{self.component}]"
        target = self.target if isinstance(self.target, tuple) else (self.target,)
        return f"{self.signal}{component} = {','.join(f'{value:.15g}' for value in target)} ± {self.within:.15g}"


@dataclass(frozen=True, eq=False)
class Goal:
    """All of `near`, or an observation; its cost is added to the objective with this weight."""

    near: tuple[Near, ...] = ()
    observation: np.ndarray | None = None  # (F,) or pixels, as perception makes features of one observation
    within: float = 0.0  # of an observation: the largest difference of a number that still counts as reached
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Raises TelosError unless it is a predicate or an observation, one of them, with a finite weight > 0."""
        if not isinstance(self.near, tuple):
            raise TelosError("goal.near", repr(self.near), "a tuple of Near")
        if bool(self.near) == (self.observation is not None):
            raise TelosError("goal", "both or neither", "a predicate on signals (near), or an observation")
        if not 0 < self.weight < float("inf"):
            raise TelosError("goal.weight", self.weight, "a finite number > 0")

    @property
    def requests(self) -> tuple[Request, ...]:
        """The signals that the predicate reads."""
        return tuple(near.request for near in self.near)

    def holds(self, trajectory: Trajectory) -> Tensor:
        """Whether the predicate holds after each step, (N,H) bool."""
        return torch.stack([near.holds(trajectory) for near in self.near]).all(0)

    def text(self) -> str:
        """The goal in words, for rows and reports."""
        return "; ".join(near.text() for near in self.near) or "an observation"


def goal_of(given: Goal | Near | str | None) -> Goal | None:
    """A goal as it is, or made of one condition or of text.

    Raises:
        TelosError: anything else, or a text that is not of this form.
    """
    if given is None or isinstance(given, Goal):
        return given
    if isinstance(given, Near):
        return Goal((given,))
    try:
        return Goal(tuple(Near.model_validate(fields) for fields in parsed(given)))
    except (ValueError, TypeError):
        raise TelosError("goal", repr(given), ALLOWED) from None


def parsed(text: str) -> list[dict[str, object]]:
    """The fields of each `Near` in a text. Raises ValueError for a text that is not of this form."""
    found = []
    for part in text.split(";"):
        match = TEXT.fullmatch(part)
        if match is None:
            raise ValueError(ALLOWED)
        target = [float(number) for number in match["target"].split(",")]
        component = None if match["component"] is None else int(match["component"])
        found.append(
            {
                "signal": match["signal"],
                "target": target[0] if len(target) == 1 else tuple(target),
                "within": float(match["within"]),
                "component": component,
            }
        )
    return found
