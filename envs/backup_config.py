"""The schema of a back-up controller in configuration and task files."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.backup import BackUp, Law
from envs.errors import TelosError
from envs.numbers import NonNegative, Number, Positive


class BackUpConfig(BaseModel):
    """The back-up controller of the safe stop, and the stop set that it must reach (`envs.backup.BackUp`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    law: Law = "brake"
    seconds: Positive = Field(description="time given to come to rest, s")
    rest_speed: Positive = Field(description="of every joint at rest, rad/s or m/s")
    gain: NonNegative | None = Field(default=None, description="native control per rad/s or m/s; null: what can stop")
    stiffness: NonNegative | None = Field(default=None, description="hold, retreat: native control per rad or m")
    joints: tuple[str, ...] = Field(default=(), description="joints that must come to rest; all of them where empty")
    posture: dict[str, Number] = Field(default={}, description="retreat: joint -> position, rad or m")
    within: Positive | None = Field(default=None, description="retreat: of the posture at the end, rad or m")

    @model_validator(mode="after")
    def _check(self) -> BackUpConfig:
        try:
            _ = self.back_up
        except TelosError as error:
            field = error.where.removeprefix("back_up").removeprefix(".")
            raise ValueError(f"{field} {error.given}: {error.allowed}".strip()) from None
        return self

    @property
    def back_up(self) -> BackUp:
        return BackUp(
            seconds=self.seconds,
            rest_speed=self.rest_speed,
            gain=self.gain,
            joints=self.joints,
            law=self.law,
            stiffness=self.stiffness,
            posture=tuple(self.posture.items()),
            within=self.within,
        )
