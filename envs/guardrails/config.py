"""What every kind of guardrail is configured with, and the pure functions a kind brings along."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import BaseModel, Field

from envs import numbers
from envs.guardrails.rule import Granularity, Params, Value
from envs.names import Name
from envs.numbers import LARGEST

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GuardrailConfig", "Name", "NonNegative", "Number", "Params", "Positive"]

# Beyond these, nothing would ever break a rule: MuJoCo gives up at positions and speeds of 1e10.
Number = Annotated[numbers.Number, Field(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[numbers.Positive, Field(le=LARGEST)]
NonNegative = Annotated[numbers.NonNegative, Field(le=LARGEST)]


class GuardrailConfig(BaseModel, extra="forbid", frozen=True):
    """Base of all kinds: subclass it, give `kind` a Literal, and register it to have it tested.

    `margin`, `lowest_margin` and `at_least_as_strict` are static and see plain numbers only: what a guardrail does
    depends on nothing but what its digest covers.
    """

    components: ClassVar[int | None] = None  # D the kind needs of its signals; None for any
    positions: ClassVar[bool] = False  # whether its signals must be positions in the world, m

    kind: str
    name: Name  # unique within a set
    tolerance: NonNegative = 0.0  # in `unit`
    scale: Positive  # `unit` per "1 bad"
    granularity: Granularity = "step"
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
    def lowest_margin(params: Params) -> float:
        """The infimum of `margin` over all values that the signals can have, in `unit`; -inf where there is none.

        A tolerance from there on makes a rule that nothing can break, so `registry.build` refuses it.
        """
        return -math.inf

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        """Whether `margin` under `new` is, for every signal, at most what it is under `old`."""
        return new == old
