"""Errors that tell the user what to change: where, what was given, what is allowed, and the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

SHOWN = 10  # the most names in one message
COMPARED = 200  # the most characters of a name that are compared


def similarity(name: str, option: str) -> float:
    """The similarity of two names, from 0 to 1; letter case and a flag's leading dashes are ignored."""
    first, second = (text[:COMPARED].lstrip("-").lower() for text in (name, option))
    return difflib.SequenceMatcher(None, first, second).ratio()


def nearest(name: object, options: Iterable[str]) -> str | None:
    """The shortest option that contains `name`, or else the most similar one; None when none is similar."""
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

    `allowed` is a phrase, or the names to choose from, of which the first ten are shown. The message leaves out parts
    that are empty or None.
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
        # All four are kept in `args`, with which pickle calls the class, so the error can be sent to another process.
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
        """The error for a name that is not among the options; of many options, the ten most similar are shown.

        Args:
            see: a command that lists all options.
        """
        names = sorted(options)
        close = nearest(given, names)
        if len(names) > SHOWN:
            names.sort(key=lambda name: -similarity(given, name))
        return cls(where, repr(given), _listed(names, close, see), close)


def _listed(names: Sequence[str], first: str | None, see: str | None = None) -> str:
    """The names in one line; of more than ten, only ten, beginning with `first`."""
    if len(names) <= SHOWN:
        return ", ".join(names) or "none"
    ahead = [first] if first in names else []
    shown = [*ahead, *(name for name in names if name not in ahead)][:SHOWN]
    also = f"; `{see}`" if see else ""
    return f"{', '.join(shown)}, … ({len(names)} in all{also})"


class Unplayable(TelosError):
    """A configuration does not fit the task, which was found only at an episode's first step."""


class Diverged(TelosError):
    """The real environment's simulation diverged; the episode ends before the step that diverged."""


class GuardrailTampered(TelosError):
    """A guardrail no longer matches its digest, so no decision may use it."""


class GuardrailWeakened(TelosError):
    """A composition would remove, relax, relabel or disable a guardrail."""
