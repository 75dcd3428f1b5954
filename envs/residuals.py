"""Costs written without Python, as weight × norm of a residual (MJPC, Howell et al. 2022)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from envs import rewards
from envs.errors import TelosError
from envs.numbers import LARGEST, SMALLEST, NonNegative, Number, Scale, Whole
from envs.physics.signals import KINDS, parse, request
from envs.requests import Request
from envs.trajectory import Trajectory

TO_ZERO = ("linear", "quadratic", "cosine")  # sigmoids that may reach 0 at the margin; the others never do
LEAST = 1e-9  # the smallest value at the margin for the others


class Residual(BaseModel):
    """One cost term: `weight · norm(signal − target)`, or `weight · (1 − tolerance(signal))`.

    Norms of a residual r (MJPC's): quadratic ½|r|², l2 √(|r|²+p²)−p, smooth_abs Σ√(rᵢ²+p²)−p,
    cosh Σ p²(cosh(rᵢ/p)−1), with p = `width`. `tolerance` needs `lower`, `upper` or both, and costs
    nothing within these bounds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    signal: str
    weight: Number = 1.0
    component: Annotated[Whole, Field(ge=0)] | None = None  # of the signal's D; all of them where None
    reference: str | None = None  # a signal to subtract
    target: Number | tuple[Number, ...] = 0.0  # a number, or one per component
    period: Scale | None = None  # values that differ by whole periods count as equal, as angles by 2 pi
    norm: Literal["quadratic", "l2", "smooth_abs", "cosh", "tolerance"] = "quadratic"
    width: Scale = 0.1  # p, in the signal's unit
    lower: Number | None = None
    upper: Number | None = None
    margin: NonNegative = 0.0
    sigmoid: rewards.Sigmoid = "linear"
    value_at_margin: Annotated[Number, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _check(self) -> Residual:
        bounded = self.lower is not None or self.upper is not None
        if bounded != (self.norm == "tolerance"):
            raise ValueError("lower and upper go with norm 'tolerance', which needs one of them")
        if bounded and self.period is not None:
            raise ValueError("period goes with a norm of the distance from a target, not with 'tolerance'")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower {self.lower} is above upper {self.upper}")
        if self.margin and not SMALLEST <= self.margin <= LARGEST:
            raise ValueError(f"margin {self.margin}: 0, or {SMALLEST} to {LARGEST}")
        if self.margin and self.sigmoid not in TO_ZERO and self.value_at_margin < LEAST:
            given = f"value_at_margin {self.value_at_margin} with sigmoid {self.sigmoid!r}"
            raise ValueError(f"{given}, which never gets there: {LEAST} or more, or one of {', '.join(TO_ZERO)}")
        return self

    @property
    def requests(self) -> tuple[Request, ...]:
        names = (self.signal,) if self.reference is None else (self.signal, self.reference)
        return tuple(request(name) for name in names)

    def step_cost(self, trajectory: Trajectory, params: object = None) -> Tensor:
        """Cost of every step, (N,H), evaluated at the state after the step (a force: at its last substep)."""
        if self.norm != "tolerance":
            return self.weight * self._norm(self.value(trajectory))
        lower = -torch.inf if self.lower is None else self.lower
        upper = torch.inf if self.upper is None else self.upper
        read = self._read(trajectory)
        value = rewards.tolerance(read, lower, upper, self.margin, self.sigmoid, self.value_at_margin)
        return self.weight * (1 - value).sum(-1)

    def value(self, trajectory: Trajectory) -> Tensor:
        """The residual of every step, signal − reference − target, (N,H,D); with a period, within half of it of 0."""
        residual = self._read(trajectory)
        size = residual.shape[-1]
        if size == 0 or (isinstance(self.target, tuple) and len(self.target) not in (1, size)):
            given = f"component {self.component}, target {self.target}"
            raise TelosError(
                f"residual on {self.signal}", given, f"what fits its {size or 'smaller number of'} components"
            )
        apart = residual - torch.as_tensor(self.target, dtype=residual.dtype)
        return apart if self.period is None else (apart + self.period / 2).remainder(self.period) - self.period / 2

    def _read(self, trajectory: Trajectory) -> Tensor:
        residual = self._value(trajectory, self.signal)
        if self.reference is not None:
            residual = residual - self._value(trajectory, self.reference)
        return residual if self.component is None else residual[..., self.component : self.component + 1]

    def _value(self, trajectory: Trajectory, name: str) -> Tensor:
        signals = trajectory.signals
        return signals.last(name) if KINDS[parse(name)[0]].force else signals.after(name)

    def _norm(self, r: Tensor) -> Tensor:
        p = self.width
        if self.norm == "quadratic":
            return 0.5 * r.square().sum(-1)
        if self.norm == "l2":
            return (r.square().sum(-1) + p**2).sqrt() - p
        if self.norm == "smooth_abs":
            return ((r.square() + p**2).sqrt() - p).sum(-1)
        return (p**2 * (torch.cosh(r / p) - 1)).sum(-1)
