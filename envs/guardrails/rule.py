"""The plain numbers and names that a rule is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Granularity = Literal["step", "substep"]
"""Judged at the state after each control step, or at every physics substep inside it."""

Value = float | str | tuple[float, ...] | None

Params = Mapping[str, Any]
"""A guardrail's rule, by name."""
