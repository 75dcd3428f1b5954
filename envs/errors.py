"""Failures a user can act on: where, what was given, what is allowed, and the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: object, options: Iterable[str]) -> str | None:
    """The option that looks most like `name` (letter case does not matter), or None when none is close."""
    if not isinstance(name, str):
        return None
    by_lower = {option.lower(): option for option in options}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None


class TelosError(Exception):
    """One clear message: "where: given …; allowed: …; did you mean …?".

    `allowed` may be a phrase or the names to choose from; what is empty or None is left out of the message.
    """

    def __init__(
        self,
        where: str,
        given: object,
        allowed: str | Iterable[str] | None = None,
        nearest: str | None = None,
    ) -> None:
        self.where = where
        self.given = str(given)
        if allowed is not None and not isinstance(allowed, str):
            allowed = ", ".join(allowed) or "none"
        self.allowed = allowed
        self.nearest = nearest
        # All four stay in `args`: pickle calls the class with them, so the error can cross a process border.
        super().__init__(where, self.given, allowed, nearest)

    def __str__(self) -> str:
        message = f"{self.where}: given {self.given}"
        if self.allowed:
            message += f"; allowed: {self.allowed}"
        if self.nearest:
            message += f"; did you mean {self.nearest!r}?"
        return message

    @classmethod
    def unknown(cls, where: str, given: str, options: Iterable[str]) -> TelosError:
        """A name that is not among the options; of many, the first 40 are shown."""
        names = sorted(options)
        shown = [*names[:40], f"… ({len(names)} in all)"] if len(names) > 40 else names
        return cls(where, repr(given), shown, nearest(given, names))


class Unplayable(TelosError):
    """What was asked for does not fit the task, which showed no sooner than at an episode's first step."""


class Diverged(TelosError):
    """The world's own simulation broke down: the episode ends before the step that did it."""


class GuardrailTampered(TelosError):
    """A guardrail is no longer what its digest says: nothing may be decided with it."""


class GuardrailWeakened(TelosError):
    """A composition would remove, relax, relabel or disable a guardrail."""
