"""Kinds of guardrails as a plug-in could bring them. All but `Speed` have memory, each of another sort."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch

from envs.guardrails.config import GuardrailConfig, Params
from envs.guardrails.rule import Value

if TYPE_CHECKING:
    from torch import Tensor


class Speed(GuardrailConfig, frozen=True):
    """The speed of a joint is at most `limit`."""

    components: ClassVar[int | None] = 1

    kind: Literal["speed"] = "speed"
    joint: str = "slider"
    limit: float = 1.0
    scale: float = 0.1
    unit: Literal["m/s"] = "m/s"

    @classmethod
    def example(cls) -> Self:
        return cls(name="calm")

    @classmethod
    def stricter_example(cls) -> Self:
        return cls(name="calm", limit=0.5)

    def reads(self) -> tuple[str, ...]:
        return (f"joint_velocity/{self.joint}",)

    def rule(self) -> dict[str, Value]:
        return {"limit": self.limit}

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return params["limit"] - values[0].abs()


class Declared(Speed, frozen=True):
    """It says that it looks back; whether it does is not tried."""

    looks_back = True
    kind: Literal["declared"] = "declared"  # pyright: ignore[reportIncompatibleVariableOverride]


class Window(Speed, frozen=True):
    """The mean speed of the last five steps."""

    kind: Literal["window"] = "window"  # pyright: ignore[reportIncompatibleVariableOverride]

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        speed = values[0].abs()
        each = [speed[:, max(0, t - 4) : t + 1].mean(1) for t in range(speed.shape[1])]
        return params["limit"] - torch.stack(each, dim=1)


class Jump(Speed, frozen=True):
    """The change of speed since the last step, which cannot be told of a single step."""

    kind: Literal["jump"] = "jump"  # pyright: ignore[reportIncompatibleVariableOverride]

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        if values[0].shape[1] < 2:
            raise ValueError("at least two steps")
        jumps = values[0].diff(dim=1).abs()
        return params["limit"] - torch.cat([jumps[:, :1], jumps], dim=1)


class Kept(Speed, frozen=True):
    """The mean of this speed and that of the last call."""

    kind: Literal["kept"] = "kept"  # pyright: ignore[reportIncompatibleVariableOverride]
    last: ClassVar[list[float]] = [0.0]

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        speed, before = values[0].abs(), Kept.last[0]
        Kept.last[0] = float(speed.flatten()[-1])
        return params["limit"] - (speed + before) / 2


class Rank(Speed, frozen=True):
    """The speed relative to that of the other candidates."""

    kind: Literal["rank"] = "rank"  # pyright: ignore[reportIncompatibleVariableOverride]

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return Speed.margin(params, values[0] - values[0].mean(0, keepdim=True))
