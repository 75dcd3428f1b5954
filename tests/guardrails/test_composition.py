"""Composing rule sets can only strengthen them."""

from __future__ import annotations

import pytest

from envs.errors import GuardrailWeakened, TelosError
from envs.guardrails import Guardrails, build

SPEED = {
    "kind": "joint_velocity",
    "name": "speed",
    "joint": "j",
    "limit": 2.0,
    "tolerance": 0.01,
    "scale": 1.0,
}
FORCE = {"kind": "actuator_force", "name": "force", "actuator": "a", "limit": 50.0}
RANGE = {"kind": "joint_position", "name": "range", "joint": "j", "lower": -1.0, "upper": 1.0}
HIGH = {"kind": "body_height", "name": "high", "body": "torso", "lower": 1.0, "granularity": "substep"}
TILT = {"kind": "body_orientation", "name": "tilt", "body": "torso", "limit": 0.5}
APART = {"kind": "geom_distance", "name": "apart", "geoms": ["a", "b"], "minimum": 0.1}
BALL = {"shape": "sphere", "center": [0, 0, 0], "radius": 0.5}
OUT = {"kind": "keep_out", "name": "out", "point": "site_position/hand", "zone": BALL, "clearance": 0.1}
CELL = {"center": [0, 0, 0], "half_sizes": [1, 1, 1], "yaw": 0.2}
IN = {"kind": "keep_in", "name": "in", "point": "site_position/hand", "zone": CELL, "clearance": 0.1}
BASE = [SPEED, FORCE, RANGE, HIGH, TILT, APART, OUT, IN]


@pytest.fixture
def base() -> Guardrails:
    return build(BASE)


WEAKER = {
    "relax a symmetric limit": {**SPEED, "limit": 2.1},
    "relax one of two bounds": {**RANGE, "lower": -0.5, "upper": 1.1},
    "drop a bound": {"kind": "joint_position", "name": "range", "joint": "j", "lower": -1.0},
    "widen the tolerance": {**SPEED, "tolerance": 0.02},
    "tighten one thing, widen the tolerance": {**SPEED, "limit": 1.0, "tolerance": 0.02},
    "make violations weigh less": {**SPEED, "scale": 10.0},
    "make violations weigh more": {**SPEED, "scale": 0.1},
    "watch another joint": {**SPEED, "joint": "k"},
    "watch another actuator": {**FORCE, "actuator": "b"},
    "raise a force": {**FORCE, "limit": 51.0},
    "name another unit": {**SPEED, "unit": "m/s"},
    "become another kind": {
        "kind": "joint_position",
        "name": "speed",
        "joint": "j",
        "upper": 1.0,
        "scale": 1.0,
    },
    "look only at the end of a step": {**HIGH, "granularity": "step"},
    "lower a height": {**HIGH, "lower": 0.9},
    "allow more tilt": {**TILT, "limit": 0.6},
    "tilt another axis": {**TILT, "axis": "x", "limit": 0.1},
    "tilt to another side": {**TILT, "toward": "-z"},
    "come nearer": {**APART, "minimum": 0.05},
    "other geoms": {**APART, "geoms": ["a", "c"]},
    "shrink a zone": {**OUT, "zone": {**BALL, "radius": 0.4}},
    "move a zone": {**OUT, "zone": {**BALL, "center": [0, 0, 9]}},
    "reshape a zone": {**OUT, "zone": {"shape": "box", "center": [0, 0, 0], "half_sizes": [9, 9, 9]}},
    "less clearance": {**OUT, "clearance": 0.0},
    "watch another point": {**OUT, "point": "site_position/foot"},
    "grow a cell": {**IN, "zone": {**CELL, "half_sizes": [0.5, 0.5, 1.1]}},
    "turn a cell": {**IN, "zone": {**CELL, "yaw": 0.3}},
    "less clearance inside": {**IN, "clearance": 0.05},
    "turn in into out": {**OUT, "name": "in"},
}


@pytest.mark.parametrize("how", WEAKER)
def test_weakening_is_refused(base: Guardrails, how: str) -> None:
    with pytest.raises(GuardrailWeakened) as caught:
        base.strengthened(build([WEAKER[how]]))
    assert WEAKER[how]["name"] in str(caught.value)
    assert "allowed:" in str(caught.value)


STRICTER = [
    {**SPEED, "limit": 1.0},
    {
        "kind": "joint_velocity",
        "name": "speed",
        "joint": "j",
        "lower": -1,
        "upper": 2,
        "scale": 1,
        "tolerance": 0,
    },
    {**SPEED, "tolerance": 0.0},
    {**SPEED, "granularity": "substep"},
    {**RANGE, "lower": -0.5},
    {**HIGH, "upper": 2.0},
    {**TILT, "limit": 0.4},
    {**APART, "geoms": ["b", "a"], "minimum": 0.2},
    {**FORCE, "limit": 40.0},
    {**OUT, "clearance": 0.2, "zone": {**BALL, "radius": 0.6}},
    {**IN, "zone": {**CELL, "half_sizes": [1, 1, 0.5]}},
]


@pytest.mark.parametrize("config", STRICTER)
def test_strengthening_replaces(base: Guardrails, config: dict) -> None:
    more = build([config])
    both = base.strengthened(more)
    assert both.names == base.names
    assert both[config["name"]] == more[config["name"]]
    assert both.digest != base.digest
    with pytest.raises(GuardrailWeakened):  # and there is no way back
        both.strengthened(base)


def test_adding_keeps_what_is_there(base: Guardrails) -> None:
    more = build([{"kind": "body_velocity", "name": "new", "body": "torso", "limit": 1.0}])
    both = base.strengthened(more)
    assert set(both.names) == {*base.names, "new"}
    assert all(both[name] == base[name] for name in base.names)
    base.verify(build(BASE).digest)  # the old set is unchanged


def test_nothing_added_changes_nothing(base: Guardrails) -> None:
    assert base.strengthened(build([])).digest == base.digest
    assert base.strengthened(base).digest == base.digest
    assert build([]).strengthened(base).digest == base.digest


def test_there_is_no_way_to_take_one_out(base: Guardrails) -> None:
    verbs = {
        "remove",
        "discard",
        "pop",
        "clear",
        "disable",
        "enable",
        "without",
        "relax",
        "__sub__",
        "__delitem__",
    }
    assert not verbs & set(dir(base))


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(TelosError, match=r"guardrails\[1\].name: given 'speed'"):
        build([SPEED, SPEED])
    with pytest.raises(TelosError, match="two named 'speed'"):
        Guardrails([*build([SPEED]), *build([SPEED])])


def test_only_guardrails_can_be_added(base: Guardrails) -> None:
    with pytest.raises(TelosError, match="given a list"):
        base.strengthened([SPEED])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TelosError, match="given a dict"):
        Guardrails([SPEED])  # pyright: ignore[reportArgumentType]
