"""What the parameters of all planners share: they are checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass


class Refused(ValueError):
    """A parameter that a planner does not take."""

    def __init__(self, owner: str, name: str | None, given: object, allowed: str, nearest: str | None = None) -> None:
        """
        Args:
            owner: class of the parameters.
            name: the parameter; None where there is none of the name that was given.
            nearest: the name that looks most like it.
        """
        super().__init__(owner, name, given, allowed, nearest)  # pickle calls the class with them
        self.owner, self.name, self.given, self.allowed, self.nearest = owner, name, given, allowed, nearest

    def __str__(self) -> str:
        hint = "" if self.nearest is None else f"; did you mean {self.nearest!r}?"
        where = self.owner if self.name is None else f"{self.owner}.{self.name}"
        return f"{where}: {self.given!r} given, allowed: {self.allowed}{hint}"


@dataclass(frozen=True)
class Params:
    """Base of a planner's parameters; a subclass checks its fields in `__post_init__`."""

    def require(self, name: str, holds: bool, allowed: str) -> None:
        """Raise Refused, a ValueError, naming field, given and allowed, unless it holds (NaN never holds)."""
        if not holds:
            raise Refused(type(self).__name__, name, getattr(self, name), allowed)
