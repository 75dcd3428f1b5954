"""The meanings of a class's fields, from their descriptions or from the comments beside them in the source."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

FIELD = re.compile(r"^    (\w+): [^#]*(?:  # (.*))?$")


@dataclasses.dataclass(frozen=True)
class Described:
    """One field of a class."""

    name: str
    default: str  # "" if it has none
    meaning: str  # "" if it has neither description nor comment


def fields_of(kind: type[Any]) -> tuple[Described, ...]:
    """The fields of a dataclass or a pydantic model, including inherited ones."""
    said = _comments(kind)
    return tuple(Described(name, default, meaning or said.get(name, "")) for name, default, meaning in _fields(kind))


def _fields(kind: type[Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, default and description of each field."""
    if issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            default = "" if field.default is PydanticUndefined else _text(field.default)
            yield name, default, field.description or ""
        return
    for field in dataclasses.fields(kind):
        yield field.name, "" if field.default is dataclasses.MISSING else _text(field.default), ""


def _comments(kind: type[Any]) -> dict[str, str]:
    """Field -> the comment at the end of its line, in the source of the class or of its bases."""
    found: dict[str, str] = {}
    for base in kind.__mro__:
        try:
            lines = inspect.getsource(base).splitlines()
        except (OSError, TypeError):  # a built-in class, or one without source
            continue
        for match in filter(None, map(FIELD.match, lines)):
            if match[2]:
                found.setdefault(match[1], match[2])
    return found


def _text(default: Any) -> str:
    """A default as text; null, true and false are written as in YAML."""
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    return str(default)
