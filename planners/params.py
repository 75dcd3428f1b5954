"""What the parameters of all planners share: they are checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Params:
    """Base of a planner's parameters; a subclass checks its fields in `__post_init__`."""

    def require(self, name: str, holds: bool, allowed: str) -> None:
        """Raise ValueError naming field, given and allowed, unless it holds (NaN never holds)."""
        if not holds:
            given = getattr(self, name)
            raise ValueError(f"{type(self).__name__}.{name}: {given!r} given, allowed: {allowed}")
