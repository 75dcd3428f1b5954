"""What every kind of guardrail is configured with, and the pure functions a kind brings along."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, StringConstraints

from envs.guardrails.guardrail import Guardrail, Value
from envs.numbers import NonNegative, Number, Positive
from envs.requests import Request

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GuardrailConfig", "Name", "NonNegative", "Number", "Params", "Positive"]

Name = Annotated[str, StringConstraints(strict=True, min_length=1)]

Params = Mapping[str, Any]  # a guardrail's rule, by name


class GuardrailConfig(BaseModel, extra="forbid", frozen=True):
    """Base of all kinds: subclass it, give `kind` a Literal, and register it to have it tested.

    `margin` and `at_least_as_strict` are static and see plain numbers only: what a guardrail does depends on
    nothing but what its digest covers.
    """

    components: ClassVar[int | None] = None  # D the kind needs of its signals; None for any

    kind: str
    name: Name  # unique within a set
    tolerance: NonNegative = 0.0  # in `unit`
    scale: Positive  # `unit` per "1 bad"
    granularity: Literal["step", "substep"] = "step"
    unit: str  # of the margin

    @classmethod
    @abstractmethod
    def example(cls) -> Self:
        """A typical configuration, for documentation and the conformance suite."""

    @classmethod
    @abstractmethod
    def stricter_example(cls) -> Self:
        """The example, tightened: `margin` is smaller for some signals, and larger for none."""

    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The names of the signals it is about."""

    @abstractmethod
    def rule(self) -> dict[str, Value]:
        """The numbers that `margin` needs."""

    @staticmethod
    @abstractmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        """Signed margin, (…,D') in `unit`, of signals (…,D); >= 0 safe. NaN in must come out as NaN."""

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        """Whether `margin` under `new` is, for every signal, at most what it is under `old`."""
        return new == old

    def guardrail(self) -> Guardrail:
        """The canonical guardrail. Raises TelosError when a signal does not exist at this granularity."""
        at = "state" if self.granularity == "step" else "interval"
        return Guardrail(
            name=self.name,
            kind=self.kind,
            rule=tuple(self.rule().items()),
            signals=tuple(Request(name, at) for name in self.reads()),
            tolerance=self.tolerance,
            scale=self.scale,
            granularity=self.granularity,
            unit=self.unit,
        )
