"""Registries: names load the right objects, packages can add entries, and errors list the allowed names."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from types import MappingProxyType

import pytest

from envs.errors import TelosError
from envs.table import Entry, Table

FRUIT = Table(
    "fruit", "telos.fruit", MappingProxyType({"decoder": Entry("json:JSONDecoder", "reads JSON")}), "telos list"
)
Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def installed(**points: str) -> None:
        found = tuple(EntryPoint(name, value, "telos.fruit") for name, value in points.items())
        monkeypatch.setattr("envs.table.plug_ins", lambda group: found if group == "telos.fruit" else ())

    return installed


def test_a_name_leads_to_what_it_says() -> None:
    import json

    assert FRUIT.load("decoder") is json.JSONDecoder


def test_packages_add_names(install: Install) -> None:
    install(encoder="json:JSONEncoder")
    assert list(FRUIT.entries()) == ["decoder", "encoder"]
    assert FRUIT.load("encoder").__name__ == "JSONEncoder"


def test_packages_replace_nothing(install: Install) -> None:
    install(decoder="json:JSONEncoder")
    with pytest.raises(TelosError, match=r"entry point telos\.fruit: given decoder = json:JSONEncoder; .* not taken"):
        FRUIT.entries()


def test_an_unknown_name_gives_the_nearest_match() -> None:
    with pytest.raises(TelosError, match=r"fruit: given 'decodr'.* did you mean 'decoder'"):
        FRUIT.load("decodr")


@pytest.mark.parametrize("target", ["no_such_module:X", "json:NoSuchClass", "json"])
def test_a_name_that_leads_nowhere(install: Install, target: str) -> None:
    install(theirs=target)
    with pytest.raises(TelosError, match=f"fruit: given 'theirs', at {target}"):
        FRUIT.load("theirs")


def test_a_package_whose_import_fails(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("no licence found")

    install(theirs="theirs:X")
    monkeypatch.setattr("envs.table.import_module", broken)
    with pytest.raises(TelosError, match="no licence found"):
        FRUIT.load("theirs")


def test_entries_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        FRUIT.entries()["decoder"] = Entry("os:system")  # pyright: ignore[reportIndexIssue]
