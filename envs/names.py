"""Names as files and configurations may give them: of rules, of zones, of what is in a model."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints


def fault(name: str) -> str:
    """What a name must be, where `name` is not; "" where it is fine.

    MuJoCo keeps names as C strings in UTF-8, which hold neither NUL nor a lone surrogate. What has no name there has
    the empty one, so a blank name would stand for many things.
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
