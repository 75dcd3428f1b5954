"""Registries of names, built-in and from other packages, whose targets are imported when they are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from envs.errors import TelosError


@dataclass(frozen=True)
class Entry:
    """Where an implementation is, and one line about it."""

    target: str  # "module:attribute"
    summary: str = ""  # one line


@cache
def plug_ins(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of installed packages in this group, cached because reading them takes milliseconds."""
    return tuple(entry_points(group=group))


@dataclass(frozen=True)
class Table:
    """A registry, name -> entry, which installed packages can extend through entry points, but not override."""

    where: str  # the field that holds a name, in error messages
    group: str  # of entry points
    built_in: Mapping[str, Entry]
    hint: str | None = None  # a command that lists the names

    def entries(self) -> Mapping[str, Entry]:
        """All entries, built-in ones first. Raises TelosError where an entry point uses an existing name."""
        found = dict(self.built_in)
        for point in plug_ins(self.group):
            if point.name in found:
                given = f"{point.name} = {point.value}"
                raise TelosError(f"entry point {self.group}", given, "a name not taken yet")
            found[point.name] = Entry(point.value, f"from {point.dist.name if point.dist else point.value}")
        return MappingProxyType(found)

    def load(self, name: str) -> Any:
        """The object of this name. Raises TelosError for an unknown name, or a target that cannot be imported."""
        entries = {name: self.built_in[name]} if name in self.built_in else self.entries()
        if name not in entries:
            raise TelosError.unknown(self.where, name, entries, self.hint)
        target = entries[name].target
        module, _, attribute = target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except Exception as error:  # importing another package can raise anything
            given = f"{name!r}, at {target}: {error}"
            raise TelosError(self.where, given, '"module:attribute" that can be imported') from error
