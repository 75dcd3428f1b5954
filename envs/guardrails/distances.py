"""Guardrails on the distance between two geoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from envs.guardrails.config import GuardrailConfig, Name, NonNegative, Params, Positive
from envs.guardrails.rule import Value

if TYPE_CHECKING:
    from torch import Tensor

CUTOFF = 10.0  # m; envs.physics.signals.GEOM_DISTANCE_CUTOFF, not imported because that would import torch too

# "/" separates the two geoms in the signal's name, so a geom's name must not contain it.
Geom = Annotated[Name, StringConstraints(pattern=r"^[^/]+$")]


class GeomDistance(GuardrailConfig, frozen=True):
    """Signal `geom_distance/A/B` (negative in penetration): distance >= minimum, in m.

    A distance above 10 m reads as 10 m, so a larger minimum could never be kept.
    """

    components: ClassVar[int | None] = 1

    kind: Literal["geom_distance"] = "geom_distance"
    geoms: tuple[Geom, Geom]  # in either order
    minimum: Annotated[NonNegative, Field(lt=CUTOFF)]  # m; no reading exceeds the cutoff
    scale: Positive = 0.05
    unit: Literal["m"] = "m"

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.geoms[0] == self.geoms[1]:
            raise ValueError("two different geoms")
        return self

    @classmethod
    def example(cls) -> Self:
        return cls(name="finger off the table", geoms=("finger", "table"), minimum=0.01, tolerance=0.001)

    @classmethod
    def stricter_example(cls) -> Self:
        return cls.example().model_copy(update={"minimum": 0.1})

    def reads(self) -> tuple[str, ...]:
        first, second = sorted(self.geoms)  # a distance is symmetric: both orders get one name and one digest
        return (f"geom_distance/{first}/{second}",)

    def rule(self) -> dict[str, Value]:
        return {"minimum": self.minimum}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return values[0] - params["minimum"]

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        return new["minimum"] >= old["minimum"]
