"""Guardrails that keep points outside or inside zones fixed in the world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from envs.errors import nearest
from envs.guardrails.config import GuardrailConfig, Name, NonNegative, Params, Positive
from envs.guardrails.rule import Value
from envs.names import fault
from envs.requests import POINTS
from envs.zones import Box, Cylinder, Zone, depth, signed_distance

if TYPE_CHECKING:
    from torch import Tensor


_SIZES = ("half_sizes", "radius", "height", "clearance")


def _same_place(new: Params, old: Params) -> bool:
    return all(new.get(key) == old.get(key) for key in ("shape", "center", "yaw"))


def _grown(new: Params, old: Params, key: str) -> bool:
    """Whether every number under `key` is at least what it was."""
    if key not in old:
        return True
    a, b = new[key], old[key]
    return all(x >= y for x, y in zip(a, b, strict=True)) if isinstance(b, tuple) else a >= b


def _position(point: str) -> str:
    """Raises PydanticCustomError for a signal that is not a position, and ValueError for one without a valid name.

    The distance to a zone has a meaning for positions only.
    """
    kind, _, name = point.partition("/")
    if kind not in (*POINTS, "sensor"):
        near = nearest(kind, POINTS) or POINTS[0]
        context = {
            "points": ", ".join(f"{known}/…" for known in POINTS),
            "nearest": f"{near}/{name}" if name else None,
        }
        raise PydanticCustomError("position", "a position in m: {points}, or a sensor/… of one", context)
    if said := fault(name):
        raise ValueError(f"{kind}/ and {said}")
    return point


Point = Annotated[Name, AfterValidator(_position)]


class KeepOut(GuardrailConfig, frozen=True):
    """A point signal, e.g. `body_position/hand`, stays `clearance` m or more outside a zone."""

    components: ClassVar[int | None] = 3
    positions: ClassVar[bool] = True

    kind: Literal["keep_out"] = "keep_out"
    point: Point  # a signal: body_position/…, site_position/…, geom_position/…
    zone: Zone
    clearance: NonNegative = 0.0  # m
    scale: Positive = 0.1
    unit: Literal["m"] = "m"

    @classmethod
    def example(cls) -> Self:
        zone = Cylinder(center=(0.5, 0.0, 0.3), radius=0.2, height=0.6)
        return cls(name="hand off the pillar", point="site_position/hand", zone=zone, clearance=0.02)

    @classmethod
    def stricter_example(cls) -> Self:
        return cls.example().model_copy(update={"clearance": 0.3})

    def reads(self) -> tuple[str, ...]:
        return (self.point,)

    def rule(self) -> dict[str, Value]:
        return {**self.zone.model_dump(), "clearance": self.clearance}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return signed_distance(params, values[0]) - params["clearance"]

    @staticmethod
    def lowest_margin(params: Params) -> float:
        return -depth(params) - params["clearance"]

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        # If the new zone contains the old one, no point has a larger signed distance to it.
        return _same_place(new, old) and all(_grown(new, old, key) for key in _SIZES)


class KeepIn(GuardrailConfig, frozen=True):
    """A point signal, e.g. `body_position/hand`, stays `clearance` m or more inside a box."""

    components: ClassVar[int | None] = 3
    positions: ClassVar[bool] = True

    kind: Literal["keep_in"] = "keep_in"
    point: Point  # a signal: body_position/…, site_position/…, geom_position/…
    zone: Box
    clearance: NonNegative = 0.0  # m
    scale: Positive = 0.1
    unit: Literal["m"] = "m"

    @model_validator(mode="after")
    def _room(self) -> Self:
        room = depth(self.zone.model_dump())
        if self.clearance - self.tolerance > room:
            raise ValueError(f"clearance - tolerance <= {room:g} m, which is how far inside this box a point can be")
        return self

    @classmethod
    def example(cls) -> Self:
        zone = Box(center=(0.0, 0.0, 0.5), half_sizes=(1.0, 1.0, 0.5), yaw=0.3)
        return cls(name="hand in the cell", point="body_position/hand", zone=zone, clearance=0.05)

    @classmethod
    def stricter_example(cls) -> Self:
        return cls.example().model_copy(
            update={"zone": Box(center=(0.0, 0.0, 0.5), half_sizes=(0.7, 1.0, 0.5), yaw=0.3)}
        )

    def reads(self) -> tuple[str, ...]:
        return (self.point,)

    def rule(self) -> dict[str, Value]:
        return {**self.zone.model_dump(), "clearance": self.clearance}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return -signed_distance(params, values[0]) - params["clearance"]

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        return (
            _same_place(new, old) and _grown(old, new, "half_sizes") and _grown(new, old, "clearance")
        )  # a smaller box is stricter
