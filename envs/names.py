"""Valid names in files and configurations: of rules, zones and model elements."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints


def fault(name: str) -> str:
    """The requirement that `name` violates, as text; "" for a valid name.

    MuJoCo stores names as C strings in UTF-8, which can contain neither NUL nor a lone surrogate. Unnamed elements have
    the empty name, so a blank name would be ambiguous.
    """
    if not name.strip():
        return "a name that is not blank"
    if "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
        return "a name without NUL and lone surrogates"
    return ""


def _checked(name: str) -> str:
    if said := fault(name):
        raise ValueError(said)
    return name


Name = Annotated[str, StringConstraints(strict=True, min_length=1), AfterValidator(_checked)]
