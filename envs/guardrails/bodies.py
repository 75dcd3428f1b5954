"""Guardrails on the height, orientation and speed of a body."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from envs.guardrails.config import GuardrailConfig, Name, Number, Params, Positive
from envs.guardrails.limits import between, bounds_at_least_as_strict, check_bounds
from envs.guardrails.rule import Value

if TYPE_CHECKING:
    from torch import Tensor


class BodyHeight(GuardrailConfig, frozen=True):
    """Signal `body_position/BODY`, its z: lower <= z <= upper, in m above the world's origin."""

    components: ClassVar[int | None] = 3

    kind: Literal["body_height"] = "body_height"
    body: Name
    lower: Number | None = None  # m
    upper: Number | None = None  # m
    scale: Positive = 0.1
    unit: Literal["m"] = "m"

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        check_bounds(self.lower, self.upper)
        return self

    @classmethod
    def example(cls) -> Self:
        return cls(name="torso up", body="torso", lower=0.8, tolerance=0.01)

    @classmethod
    def stricter_example(cls) -> Self:
        return cls.example().model_copy(update={"lower": 1.1})

    def reads(self) -> tuple[str, ...]:
        return (f"body_position/{self.body}",)

    def rule(self) -> dict[str, Value]:
        return {"lower": self.lower, "upper": self.upper}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return between(values[0][..., 2:], params["lower"], params["upper"])

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        return bounds_at_least_as_strict(new, old)


class BodyOrientation(GuardrailConfig, frozen=True):
    """Signal `body_{x,y,z}_axis/BODY` (unit, world frame): its angle to a world axis <= limit, in rad."""

    components: ClassVar[int | None] = 3

    kind: Literal["body_orientation"] = "body_orientation"
    body: Name
    axis: Literal["x", "y", "z"] = "z"  # the body's own
    toward: Literal["+x", "-x", "+y", "-y", "+z", "-z"] = "+z"  # the world's
    limit: Annotated[float, Field(strict=True, gt=0, lt=math.pi)]  # rad; at pi nothing would be forbidden
    scale: Positive = 0.2
    unit: Literal["rad"] = "rad"

    @classmethod
    def example(cls) -> Self:
        return cls(name="torso upright", body="torso", limit=0.6, tolerance=0.01)

    @classmethod
    def stricter_example(cls) -> Self:
        return cls.example().model_copy(update={"limit": 0.3})

    def reads(self) -> tuple[str, ...]:
        return (f"body_{self.axis}_axis/{self.body}",)

    def rule(self) -> dict[str, Value]:
        return {"toward": self.toward, "limit": self.limit}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        sign, axis = params["toward"]
        along, across = {
            "x": (values[0][..., :1], values[0][..., 1:]),
            "y": (values[0][..., 1:2], values[0][..., ::2]),
            "z": (values[0][..., 2:], values[0][..., :2]),
        }[axis]
        # atan2, because acos loses precision where the axes coincide. Contiguous tensors make it five times faster.
        along = (along if sign == "+" else -along).contiguous()
        away = across.norm(dim=-1, keepdim=True)
        # atan2(0, 0) is 0, so a zero vector, which is no axis, would count as perfectly upright: make it NaN.
        size = away + along.abs()
        return params["limit"] - away.atan2(along) * (size / size)

    @staticmethod
    def lowest_margin(params: Params) -> float:
        return params["limit"] - math.pi

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        return new["toward"] == old["toward"] and new["limit"] <= old["limit"]


class BodyVelocity(GuardrailConfig, frozen=True):
    """Signal `body_velocity/BODY` (linear, world frame): its norm <= limit, in m/s."""

    components: ClassVar[int | None] = 3

    kind: Literal["body_velocity"] = "body_velocity"
    body: Name
    limit: Positive  # m/s
    scale: Positive = 0.5
    unit: Literal["m/s"] = "m/s"

    @classmethod
    def example(cls) -> Self:
        return cls(name="hand slow", body="hand", limit=1.5, tolerance=0.02)

    @classmethod
    def stricter_example(cls) -> Self:
        return cls.example().model_copy(update={"limit": 0.7})

    def reads(self) -> tuple[str, ...]:
        return (f"body_velocity/{self.body}",)

    def rule(self) -> dict[str, Value]:
        return {"limit": self.limit}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return params["limit"] - values[0].norm(dim=-1, keepdim=True)

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        return new["limit"] <= old["limit"]
