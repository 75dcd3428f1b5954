"""Errors in third-party plug-ins, as messages for users."""

from __future__ import annotations

from collections.abc import Mapping

from envs.errors import TelosError
from planners.registry import Entry, table


def known_planners() -> Mapping[str, Entry]:
    """All planners. Raises TelosError where an entry point uses a name that is already taken."""
    try:
        return table()
    except ValueError as error:
        raise TelosError("planners", str(error), "names that are not taken yet") from None
