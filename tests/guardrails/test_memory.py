"""A rule with memory is refused by name, whether a plug-in declares the memory or not."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from envs.errors import TelosError
from envs.guardrails import Guardrail, build
from envs.guardrails.kinds import TABLE, resolve
from envs.guardrails.memory import remembers
from envs.requests import Request

UNDECLARED = ("window", "jump", "kept", "rank")
GRANULARITIES = ("step", "substep")


@pytest.fixture(autouse=True)
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = ("speed", "declared", *UNDECLARED)
    points = [EntryPoint(name, f"tests.guardrails.remembering:{name.title()}", TABLE.group) for name in names]
    monkeypatch.setattr("envs.table.plug_ins", lambda group: tuple(points) if group == TABLE.group else ())
    resolve.cache_clear()
    yield
    resolve.cache_clear()


def rule(kind: str, granularity: str) -> Guardrail:
    """A rule as it would be without the refusal."""
    request = Request("joint_velocity/slider", "state" if granularity == "step" else "interval")
    return Guardrail("calm", kind, (("limit", 1.0),), (request,), 0.0, 0.1, granularity, "m/s")  # pyright: ignore[reportArgumentType]


def test_a_plug_in_without_memory_is_built() -> None:
    for granularity in GRANULARITIES:
        made = build([{"kind": "speed", "name": "calm", "granularity": granularity}])
        assert not remembers(made["calm"])


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_declared_memory_is_refused_by_name(granularity: str) -> None:
    said = r"^guardrails\[1\]: guardrail 'calm'\.kind: given 'declared', which looks back at earlier steps; allowed: "
    with pytest.raises(TelosError, match=said):
        build([{"kind": "speed", "name": "slow"}, {"kind": "declared", "name": "calm", "granularity": granularity}])


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("kind", UNDECLARED)
def test_undeclared_memory_is_found(kind: str, granularity: str) -> None:
    assert remembers(rule(kind, granularity))
    with pytest.raises(TelosError, match=rf"'calm'\.kind: given '{kind}', whose margin at a step depends on more"):
        build([{"kind": kind, "name": "calm", "granularity": granularity}])


def test_a_margin_that_refuses_the_tried_signals_is_left_to_the_first_judgement(monkeypatch) -> None:
    def never(params: object, *values: object) -> None:
        raise ValueError("a quaternion")

    monkeypatch.setattr(resolve("speed"), "margin", staticmethod(never))
    assert not remembers(rule("speed", "step"))
