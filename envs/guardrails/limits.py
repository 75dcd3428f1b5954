"""Guardrails on joint positions and velocities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from envs.guardrails.config import GuardrailConfig, Name, Number, Params, Positive
from envs.guardrails.rule import Value

if TYPE_CHECKING:
    from torch import Tensor


def between(x: Tensor, lower: float | None, upper: float | None) -> Tensor:
    """Signed distance of x to the nearer bound, elementwise; positive inside the bounds, negative outside."""
    if lower is not None and upper is not None:
        return (x - lower).minimum(upper - x)  # `minimum` propagates NaN
    if lower is not None:
        return x - lower
    if upper is not None:
        return upper - x
    raise ValueError("a limit without a bound")


def bounds_at_least_as_strict(new: Params, old: Params) -> bool:
    """Whether each bound is at least as tight, where a missing bound is infinite."""

    def bound(params: Params, key: str, absent: float) -> float:
        return absent if params[key] is None else params[key]

    return bound(new, "lower", -math.inf) >= bound(old, "lower", -math.inf) and bound(new, "upper", math.inf) <= bound(
        old, "upper", math.inf
    )


def check_bounds(lower: float | None, upper: float | None) -> None:
    """Raises ValueError when there is no bound, or when `lower` exceeds `upper`."""
    if lower is None and upper is None:
        raise ValueError("a lower bound, an upper bound, or both")
    if lower is not None and upper is not None and lower > upper:
        raise ValueError(f"lower <= upper (lower {lower} > upper {upper} is a limit inside out)")


class JointPosition(GuardrailConfig, frozen=True):
    """Signal `joint_position/JOINT`: lower <= q <= upper."""

    kind: Literal["joint_position"] = "joint_position"
    joint: Name
    lower: Number | None = None  # in `unit`
    upper: Number | None = None  # in `unit`
    scale: Positive = 0.1
    unit: Literal["rad", "m"] = "rad"

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        check_bounds(self.lower, self.upper)
        return self

    @classmethod
    def example(cls) -> Self:
        return cls(name="elbow in range", joint="elbow", lower=-1.5, upper=2.0, tolerance=0.01)

    @classmethod
    def stricter_example(cls) -> Self:
        return cls.example().model_copy(update={"upper": 1.0})

    def reads(self) -> tuple[str, ...]:
        return (f"joint_position/{self.joint}",)

    def rule(self) -> dict[str, Value]:
        return {"lower": self.lower, "upper": self.upper}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return between(values[0], params["lower"], params["upper"])

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        return bounds_at_least_as_strict(new, old)


class JointVelocity(GuardrailConfig, frozen=True):
    """Signal `joint_velocity/JOINT`: |v| <= limit, or lower <= v <= upper."""

    kind: Literal["joint_velocity"] = "joint_velocity"
    joint: Name
    limit: Positive | None = None  # in `unit`, the same in both directions; instead of lower and upper
    lower: Number | None = None  # in `unit`
    upper: Number | None = None  # in `unit`
    scale: Positive = 1.0
    unit: Literal["rad/s", "m/s"] = "rad/s"

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.limit is None:
            check_bounds(self.lower, self.upper)
        elif self.lower is not None or self.upper is not None:
            raise ValueError("either limit, or lower and upper; not both")
        return self

    @classmethod
    def example(cls) -> Self:
        return cls(name="elbow not too fast", joint="elbow", limit=8.0, tolerance=0.05)

    @classmethod
    def stricter_example(cls) -> Self:
        return cls.example().model_copy(update={"limit": 4.0})

    def reads(self) -> tuple[str, ...]:
        return (f"joint_velocity/{self.joint}",)

    def rule(self) -> dict[str, Value]:
        if self.limit is not None:  # the same rule has the same digest however it was written
            return {"lower": -self.limit, "upper": self.limit}
        return {"lower": self.lower, "upper": self.upper}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return between(values[0], params["lower"], params["upper"])

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        return bounds_at_least_as_strict(new, old)
