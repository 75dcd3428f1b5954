"""Guardrails on forces and power, which exist only inside steps and are therefore judged at every substep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from envs.guardrails.config import GuardrailConfig, Name, Params, Positive
from envs.guardrails.rule import Value

if TYPE_CHECKING:
    from torch import Tensor


class ActuatorForce(GuardrailConfig, frozen=True):
    """Signal `actuator_force/ACTUATOR`: |f| <= limit, in N, or N·m for a rotary one."""

    kind: Literal["actuator_force"] = "actuator_force"
    actuator: Name
    limit: Positive  # in `unit`
    scale: Positive = 10.0
    granularity: Literal["substep"] = "substep"
    unit: Literal["N", "N·m"] = "N·m"

    @classmethod
    def example(cls) -> Self:
        return cls(name="knee torque", actuator="knee", limit=80.0, tolerance=0.5)

    @classmethod
    def stricter_example(cls) -> Self:
        return cls.example().model_copy(update={"limit": 40.0})

    def reads(self) -> tuple[str, ...]:
        return (f"actuator_force/{self.actuator}",)

    def rule(self) -> dict[str, Value]:
        return {"limit": self.limit}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return params["limit"] - values[0].abs()

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        return new["limit"] <= old["limit"]


class ActuatorPower(GuardrailConfig, frozen=True):
    """Signal `actuator_power/ACTUATOR`: |P| <= limit, in W; braking counts as driving does."""

    kind: Literal["actuator_power"] = "actuator_power"
    actuator: Name
    limit: Positive  # W
    scale: Positive = 50.0
    granularity: Literal["substep"] = "substep"
    unit: Literal["W"] = "W"

    @classmethod
    def example(cls) -> Self:
        return cls(name="knee power", actuator="knee", limit=300.0, tolerance=1.0)

    @classmethod
    def stricter_example(cls) -> Self:
        return cls.example().model_copy(update={"limit": 30.0})

    def reads(self) -> tuple[str, ...]:
        return (f"actuator_power/{self.actuator}",)

    def rule(self) -> dict[str, Value]:
        return {"limit": self.limit}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return params["limit"] - values[0].abs()

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        return new["limit"] <= old["limit"]


class _OnContacts(GuardrailConfig, frozen=True):
    """The norm of a force (N) on a body <= limit."""

    contact: Name  # the body
    limit: Positive  # N
    scale: Positive = 50.0
    granularity: Literal["substep"] = "substep"
    unit: Literal["N"] = "N"

    @classmethod
    def stricter_example(cls) -> Self:
        return cls.example().model_copy(update={"limit": 0.5})

    def reads(self) -> tuple[str, ...]:
        return (f"{self.kind}/{self.contact}",)

    def rule(self) -> dict[str, Value]:
        return {"limit": self.limit}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return params["limit"] - values[0].norm(dim=-1, keepdim=True)

    @staticmethod
    def at_least_as_strict(new: Params, old: Params) -> bool:
        return new["limit"] <= old["limit"]


class ContactForce(_OnContacts, frozen=True):
    """Signal `contact_force/BODY`, the net force of all contacts on the body: its norm <= limit, in N.

    Forces from opposite sides cancel out. Where a body may be squeezed, use `strongest_contact`.
    """

    kind: Literal["contact_force"] = "contact_force"

    @classmethod
    def example(cls) -> Self:
        return cls(name="soft landing", contact="foot", limit=900.0, tolerance=5.0)


class StrongestContact(_OnContacts, frozen=True):
    """Signal `strongest_contact/BODY`, the largest force of a single contact on the body: its norm <= limit, in N."""

    kind: Literal["strongest_contact"] = "strongest_contact"

    @classmethod
    def example(cls) -> Self:
        return cls(name="no crushing", contact="hand", limit=60.0, tolerance=1.0)
