"""Each attempt to change a guardrail in place is refused, or caught by `verify`."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import pickle

import pytest
import torch

from envs.errors import GuardrailTampered, TelosError
from envs.guardrails import Guardrail, Guardrails, build
from envs.guardrails.limits import JointVelocity
from envs.guardrails.registry import KINDS
from envs.trajectory import Signals

SPEED = {"kind": "joint_velocity", "name": "speed", "joint": "j", "limit": 2.0, "tolerance": 0.01}
ZONE = {"kind": "keep_out", "name": "zone", "point": "site_position/hand"}
ZONE |= {"zone": {"shape": "sphere", "center": [0, 0, 0], "radius": 0.5}}


@pytest.fixture
def rules() -> Guardrails:
    return build([SPEED, ZONE])


def assert_caught(rules: Guardrails, digest: str) -> None:
    """Assert that `verify`, `strengthened`, the digest, and every kind of copy or pickle detect the change."""
    with pytest.raises(GuardrailTampered):
        rules.verify(digest)
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(GuardrailTampered):
            leave(rules)
    with pytest.raises(GuardrailTampered):
        rules.strengthened(build([]))
    with pytest.raises(GuardrailTampered):
        build([]).strengthened(rules)
    with contextlib.suppress(GuardrailTampered):
        assert rules.digest != digest


def test_verify_accepts_what_is_untouched(rules: Guardrails) -> None:
    rules.verify(rules.digest)
    with pytest.raises(GuardrailTampered, match="digest"):
        rules.verify("0" * 64)


def test_assignment_is_refused(rules: Guardrails) -> None:
    digest = rules.digest
    for name in ("_members", "_seal", "anything"):
        with pytest.raises(GuardrailTampered):
            setattr(rules, name, ())
    with pytest.raises(GuardrailTampered):
        del rules._members
    for field in dataclasses.fields(Guardrail):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(rules["speed"], field.name, None)
    with pytest.raises(TypeError):
        rules["speed"].params["upper"] = 99.0  # pyright: ignore[reportIndexIssue]
    with pytest.raises(GuardrailTampered):
        rules.__init__([])
    with pytest.raises(GuardrailTampered):
        rules["speed"].__setstate__([None] * 8)
    rules.verify(digest)


class Lax(float):
    """A number that prints correctly but has a wrong negation."""

    def __neg__(self) -> float:
        return -1e9


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "speed2"),
        ("kind", "joint_position"),
        ("rule", (("lower", -99.0), ("upper", 99.0))),
        ("rule", ()),
        ("rule", None),
        ("signals", ()),
        ("tolerance", 1e9),
        ("tolerance", float("nan")),
        ("tolerance", Lax(0.01)),
        ("tolerance", torch.tensor(0.01)),
        ("scale", 1e9),
        ("granularity", "substep"),
        ("unit", "m/s"),
    ],
)
def test_forced_change_of_a_member_is_caught(rules: Guardrails, field: str, value: object) -> None:
    digest = rules.digest
    object.__setattr__(rules["speed"], field, value)
    assert_caught(rules, digest)


def test_forced_change_of_a_request_is_caught(rules: Guardrails) -> None:
    digest = rules.digest
    object.__setattr__(rules["speed"].signals[0], "name", "joint_velocity/other")
    assert_caught(rules, digest)


def test_initialising_a_member_again_is_caught(rules: Guardrails) -> None:
    digest = rules.digest
    member = rules["speed"]
    fields = {field.name: getattr(member, field.name) for field in dataclasses.fields(member)}
    member.__init__(**{**fields, "tolerance": 99.0})
    assert_caught(rules, digest)


def test_forced_change_of_the_set_is_caught(rules: Guardrails) -> None:
    digest, members = rules.digest, rules._members
    loose = build([{**SPEED, "limit": 99.0}])["speed"]

    class Fake:
        name = "speed"

    for changed in ((), members[:1], (members[0], loose), (*members, loose), (members[0], Fake()), None):
        object.__setattr__(rules, "_members", changed)
        with pytest.raises(GuardrailTampered):
            Guardrails.verify(rules, digest)
    object.__setattr__(rules, "_members", members)
    rules.verify(digest)


def test_resealing_is_caught_by_a_digest_kept_elsewhere(rules: Guardrails) -> None:
    digest = rules.digest
    object.__setattr__(rules, "_members", ())
    object.__setattr__(rules, "_seal", rules.digest)
    with pytest.raises(GuardrailTampered):
        rules.verify(digest)


def test_a_look_alike_is_refused(rules: Guardrails) -> None:
    class Impostor:
        digest = rules.digest
        _seal = rules.digest

    with pytest.raises(GuardrailTampered):
        Guardrails.verify(Impostor(), rules.digest)  # pyright: ignore[reportArgumentType]
    with pytest.raises(GuardrailTampered):
        object.__new__(Guardrails).verify(rules.digest)
    for final in (Guardrail, Guardrails):
        with pytest.raises(TypeError):
            type("Mine", (final,), {})


def test_writing_into_what_it_hands_out_changes_nothing(rules: Guardrails) -> None:
    digest = rules.digest
    rules.tolerance.fill_(1e9)
    rules.scale.fill_(1e9)
    rules["speed"].canonical()["tolerance"] = 1e9
    assert rules.tolerance.tolist() == [0.01, 0.0]
    signals = Signals(
        state={
            "joint_velocity/j": torch.full((1, 2, 1), 3.0),
            "site_position/hand": torch.full((1, 2, 3), 3.0),
        }
    )
    rules.margins(signals).fill_(1.0)
    assert rules.violated(rules.margins(signals)).tolist() == [[True, False]]
    assert float(signals.state["joint_velocity/j"].min()) == 3.0
    rules.verify(digest)


def test_the_table_of_kinds_is_read_only() -> None:
    with pytest.raises(TypeError):
        KINDS["joint_velocity"] = KINDS["keep_out"]  # pyright: ignore[reportIndexIssue]
    with pytest.raises(AttributeError):
        KINDS["joint_velocity"].target = "os:system"  # pyright: ignore[reportAttributeAccessIssue]


def test_no_callable_inside(rules: Guardrails) -> None:
    """A guardrail's behaviour follows from its kind and its numbers; it holds no function."""
    for rule in rules:
        for field in dataclasses.fields(rule):
            assert not callable(getattr(rule, field.name))


@pytest.mark.parametrize(("was", "now"), [(b"2.0", b"9.0"), (b"0.01", b"9.01"), (b"speed", b"spead"), (b"0.5", b"0.1")])
def test_altered_pickle_bytes_are_refused(rules: Guardrails, was: bytes, now: bytes) -> None:
    data = pickle.dumps(rules)
    assert was in data
    with pytest.raises(GuardrailTampered):
        pickle.loads(data.replace(was, now))


def test_altered_pickle_of_one_guardrail_is_refused(rules: Guardrails) -> None:
    data = pickle.dumps(rules["speed"])
    assert b"2.0" in data
    with pytest.raises(GuardrailTampered):
        pickle.loads(data.replace(b"2.0", b"9.0"))


def test_text_and_digest_altered_together_are_caught_by_the_digest_kept_elsewhere(rules: Guardrails) -> None:
    loose = build([{**SPEED, "limit": 99.0}, ZONE])
    swapped = Guardrails.from_json(loose.canonical_json, loose.digest)
    with pytest.raises(GuardrailTampered):
        swapped.verify(rules.digest)


def test_an_unchecked_config_is_checked() -> None:
    good = JointVelocity.example()
    loose = type(good).model_construct(**{**good.model_dump(), "tolerance": float("nan")})
    with pytest.raises(TelosError, match="tolerance"):
        build([loose])

    class Softer(JointVelocity, frozen=True):
        def rule(self) -> dict:
            return {"lower": -99.0, "upper": 99.0}

    assert build([Softer(**good.model_dump())]).digest == build([good]).digest


def test_digest_ignores_what_does_not_matter() -> None:
    a = {"kind": "joint_velocity", "name": "a", "joint": "j", "limit": 2}
    b = {"kind": "geom_distance", "name": "b", "geoms": ["x", "y"], "minimum": 0.1}
    digest = build([a, b]).digest
    assert build([b, a]).digest == digest
    assert build([{**a, "limit": 2.0}, {**b, "geoms": ["y", "x"]}]).digest == digest
    spelt_out = {"kind": "joint_velocity", "name": "a", "joint": "j", "lower": -2, "upper": 2.0}
    assert build([spelt_out, b]).digest == digest
