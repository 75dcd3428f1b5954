"""The base configuration of every guardrail kind, and the pure functions that each kind defines."""

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

# Larger bounds could never be broken: MuJoCo gives up at positions and speeds of 1e10.
Number = Annotated[numbers.Number, Field(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[numbers.Positive, Field(le=LARGEST)]
NonNegative = Annotated[numbers.NonNegative, Field(le=LARGEST)]


class GuardrailConfig(BaseModel, extra="forbid", frozen=True):
    """Base of all kinds: subclass it, give `kind` a Literal, and register it to have it tested.

    `margin`, `lowest_margin` and `at_least_as_strict` are static and get only plain numbers, so that a guardrail
    depends on nothing outside its digest.

    The margin of a step depends on the signals of that step alone. A kind whose margin depends on earlier steps, such
    as a mean over a window, sets `looks_back = True`; `registry.build` refuses its rules, because planner, gate and
    monitor judge different parts of an episode. It also refuses a plug-in whose memory shows without being declared
    (`envs.guardrails.memory`).
    """

    components: ClassVar[int | None] = None  # the D that its signals must have; None for any
    positions: ClassVar[bool] = False  # whether its signals must be positions in the world, m
    looks_back: ClassVar[bool] = False  # whether the margin of a step depends on earlier steps

    kind: str
    name: Name  # unique within a set
    tolerance: NonNegative = 0.0  # in `unit`
    scale: Positive  # the size of a violation, in `unit`, that counts as 1
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
        """The names of the signals that it reads."""

    @abstractmethod
    def rule(self) -> dict[str, Value]:
        """The numbers that `margin` needs."""

    @staticmethod
    @abstractmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        """Signed margin, (…,D') in `unit`, of signals (…,D); >= 0 is safe, and NaN must give NaN."""

    @staticmethod
    def lowest_margin(params: Params) -> float:
        """The infimum of `margin` over all values that the signals can have, in `unit`; -inf where it is unbounded.

        `registry.build` refuses a tolerance of at least minus this infimum, because nothing could break the rule.
        """
        return -math.inf

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        """Whether `margin` under `new` is at most `margin` under `old`, for every signal."""
        return new == old
