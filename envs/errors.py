"""Failures a user can act on: where, what was given, what is allowed, and the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

SHOWN = 10  # names in one message
COMPARED = 200  # characters of a name that are compared with others


def similarity(name: str, option: str) -> float:
    """How alike two names are, from 0 to 1; letter case and the dashes of a flag do not matter."""
    first, second = (text[:COMPARED].lstrip("-").lower() for text in (name, option))
    return difflib.SequenceMatcher(None, first, second).ratio()


def nearest(name: object, options: Iterable[str]) -> str | None:
    """The shortest option that contains `name`, or else the one that looks most like it; None when none is close."""
    names = list(options)
    if not isinstance(name, str) or not names:
        return None
    longer = [option for option in names if len(name) > 2 and name.lower() in option.lower()]
    if longer:
        return min(longer, key=len)
    best = max(names, key=lambda option: (similarity(name, option), -abs(len(option) - len(name))))
    return best if similarity(name, best) >= 0.5 else None


class TelosError(Exception):
    """One clear message: "where: given …; did you mean …?; allowed: …".

    `allowed` may be a phrase or the names to choose from, of which the first ten are shown; what is empty or None is
    left out of the message.
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
            allowed = _listed(list(allowed), nearest)
        self.allowed = allowed
        self.nearest = nearest
        # All four stay in `args`: pickle calls the class with them, so the error can cross a process border.
        super().__init__(where, self.given, allowed, nearest)

    def __str__(self) -> str:
        message = f"{self.where}: given {self.given}"
        if self.nearest:
            message += f"; did you mean {self.nearest!r}?"
        if self.allowed:
            message += f"; allowed: {self.allowed}"
        return message

    @classmethod
    def unknown(cls, where: str, given: str, options: Iterable[str], see: str | None = None) -> TelosError:
        """A name that is not among the options; of many, the ten most like it are shown.

        Args:
            see: a command that lists them all.
        """
        names = sorted(options)
        close = nearest(given, names)
        if len(names) > SHOWN:
            names.sort(key=lambda name: -similarity(given, name))
        return cls(where, repr(given), _listed(names, close, see), close)


def _listed(names: Sequence[str], first: str | None, see: str | None = None) -> str:
    """The names in one line; of many, `first` and those that follow."""
    if len(names) <= SHOWN:
        return ", ".join(names) or "none"
    ahead = [first] if first in names else []
    shown = [*ahead, *(name for name in names if name not in ahead)][:SHOWN]
    also = f"; `{see}`" if see else ""
    return f"{', '.join(shown)}, … ({len(names)} in all{also})"


class Unplayable(TelosError):
    """What was asked for does not fit the task, which showed no sooner than at an episode's first step."""


class Diverged(TelosError):
    """The world's own simulation broke down: the episode ends before the step that did it."""


class GuardrailTampered(TelosError):
    """A guardrail is no longer what its digest says: nothing may be decided with it."""


class GuardrailWeakened(TelosError):
    """A composition would remove, relax, relabel or disable a guardrail."""
