"""What all episodes of a store have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1


class About(BaseModel):
    """What all episodes of a store have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = SCHEMA
    task: str
    features: tuple[int, ...]  # shape of one observation
    action_size: int
    control_period: float  # s
    entries: dict[str, int] = Field(default_factory=dict)  # entry of the observation -> its numbers, in order
    guardrails: list[dict[str, Any]] = Field(default_factory=list)  # in the order of the margins, in canonical form
    guardrails_sha256: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
