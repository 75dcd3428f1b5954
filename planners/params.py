"""Base class of planner parameters, which are checked on construction."""

from __future__ import annotations

from dataclasses import dataclass


class Refused(ValueError):
    """An unknown parameter name, or a value that the planner does not accept."""

    def __init__(self, owner: str, name: str | None, given: object, allowed: str, nearest: str | None = None) -> None:
        """
        Args:
            owner: name of the parameter class.
            name: the parameter; None if no parameter has the given name.
            given: the refused value, or the unknown name.
            allowed: the values or names that are accepted.
            nearest: the allowed name most similar to the unknown one.
        """
        super().__init__(owner, name, given, allowed, nearest)  # unpickling passes these to the class again
        self.owner, self.name, self.given, self.allowed, self.nearest = owner, name, given, allowed, nearest

    def __str__(self) -> str:
        hint = "" if self.nearest is None else f"; did you mean {self.nearest!r}?"
        where = self.owner if self.name is None else f"{self.owner}.{self.name}"
        return f"{where}: {self.given!r} given, allowed: {self.allowed}{hint}"


@dataclass(frozen=True)
class Params:
    """Base of a planner's parameters; a subclass checks its fields in `__post_init__`."""

    def require(self, name: str, holds: bool, allowed: str) -> None:
        """Raise Refused (a ValueError) unless the condition `holds`.

        The error names the field, the given value and the allowed ones. Comparisons with NaN are false, so NaN is
        refused.
        """
        if not holds:
            raise Refused(type(self).__name__, name, getattr(self, name), allowed)
