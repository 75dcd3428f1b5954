"""Errors say where, what was given, what is allowed, and the nearest match."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Literal

import pytest
import torch

from envs.errors import GuardrailWeakened, TelosError, nearest
from envs.guardrails import Guardrail, build
from envs.guardrails.limits import JointVelocity
from envs.guardrails.registry import kinds, resolve
from envs.requests import Request
from envs.trajectory import Signals

JOINT = {"kind": "joint_position", "name": "a", "joint": "j", "lower": -1.0, "upper": 1.0}
SPEED = {"kind": "joint_velocity", "name": "a", "joint": "j", "limit": 1.0}
BALL = {"shape": "sphere", "center": [0, 0, 0], "radius": 0.5}
OUT = {"kind": "keep_out", "name": "a", "point": "site_position/hand", "zone": BALL}
APART = {"kind": "geom_distance", "name": "a", "geoms": ["a", "b"], "minimum": 0.1}
CELL = {"center": [0, 0, 0], "half_sizes": [0.5, 1, 1]}
IN = {"kind": "keep_in", "name": "a", "point": "site_position/hand", "zone": CELL}
TILT = {"kind": "body_orientation", "name": "a", "body": "b", "limit": 0.5}


@pytest.mark.parametrize(
    ("config", "where", "says"),
    [
        ({**JOINT, "kind": "joint_positon"}, "guardrails[1].kind", "did you mean 'joint_position'?"),
        ({"name": "a"}, "guardrails[1].kind", "given nothing; allowed: joint_position"),
        ({**JOINT, "kind": 3}, "guardrails[1].kind", "given 3"),
        ({**JOINT, "uper": 1.0}, "guardrails[1].uper", "did you mean 'upper'?"),
        ({"kind": "joint_position", "nam": "a", "joint": "j"}, "guardrails[1].nam", "did you mean 'name'?"),
        ({**JOINT, "lower": 2.0}, "guardrails[1]", "inside out"),
        ({**JOINT, "lower": None, "upper": None}, "guardrails[1]", "a lower bound, an upper bound, or both"),
        ({**JOINT, "lower": math.nan}, "guardrails[1].lower", "given nan; allowed: a finite number"),
        ({**JOINT, "upper": math.inf}, "guardrails[1].upper", "given inf; allowed: a finite number"),
        ({**JOINT, "upper": "1"}, "guardrails[1].upper", "given '1'; allowed: a valid number"),
        ({**JOINT, "upper": True}, "guardrails[1].upper", "given True; allowed: a valid number"),
        ({**JOINT, "tolerance": -0.1}, "guardrails[1].tolerance", "greater than or equal to 0"),
        ({**JOINT, "scale": 0}, "guardrails[1].scale", "greater than 0"),
        ({**JOINT, "scale": math.nan}, "guardrails[1].scale", "finite"),
        ({**JOINT, "granularity": "substeps"}, "guardrails[1].granularity", "did you mean 'substep'?"),
        ({**JOINT, "unit": "degrees"}, "guardrails[1].unit", "allowed: rad, m"),
        ({**JOINT, "name": ""}, "guardrails[1].name", "text that is not empty"),
        ({**SPEED, "upper": 1.0}, "guardrails[1]", "not both"),
        ({**SPEED, "limit": 0.0}, "guardrails[1].limit", "greater than 0"),
        ({**TILT, "limit": 4.0}, "guardrails[1].limit", "less than 3.14"),
        ({**TILT, "toward": "z"}, "guardrails[1].toward", "+z"),
        ({**OUT, "zone": {**BALL, "radius": -1}}, "guardrails[1].zone.radius", "greater than 0"),
        ({**OUT, "zone": {**BALL, "shape": "boxx"}}, "guardrails[1].zone.shape", "did you mean 'box'?"),
        ({**OUT, "zone": {**BALL, "raduis": 1}}, "guardrails[1].zone.raduis", "did you mean 'radius'?"),
        ({**OUT, "zone": {**BALL, "center": [0, 0]}}, "guardrails[1].zone.center[2]", "given nothing"),
        ({**OUT, "zone": {"radius": 1}}, "guardrails[1].zone.shape", "given nothing"),
        ({**OUT, "zone": 3}, "guardrails[1].zone", "given 3"),
        ({**OUT, "clearance": -0.1}, "guardrails[1].clearance", "greater than or equal to 0"),
        ({**OUT, "point": "site_position/"}, "guardrails[1].point", "site_position/ and a name that is not blank"),
        ({**OUT, "point": "hand"}, "guardrails[1].point", "a position in m: body_position/…"),
        ({**OUT, "point": "site_velocity/a"}, "guardrails[1].point", "did you mean 'site_position/a'?"),
        ({**OUT, "point": "geom_z_axis/a"}, "guardrails[1].point", "did you mean 'geom_position/a'?"),
        ({**OUT, "point": "body_quaternion/a/b"}, "guardrails[1].point", "did you mean 'body_position/a/b'?"),
        ({**OUT, "point": "angular_momentum/a"}, "guardrails[1].point", "a position in m"),
        ({**OUT, "point": "center_of_mass_velocity/a"}, "guardrails[1].point", "did you mean 'center_of_mass/a'?"),
        ({**OUT, "point": "contact_force/a"}, "guardrails[1].point", "a position in m"),
        ({**OUT, "point": "qpos"}, "guardrails[1].point", "a position in m"),
        ({**IN, "point": "body_velocity/a"}, "guardrails[1].point", "did you mean 'body_position/a'?"),
        ({**IN, "clearance": 0.6}, "guardrails[1]", "clearance - tolerance <= 0.5 m"),
        ({**OUT, "tolerance": 0.5}, "guardrails[1].tolerance", "below 0.5 m"),
        ({**OUT, "clearance": 0.1, "tolerance": 0.7}, "guardrails[1].tolerance", "given 0.7; allowed: below 0.6 m"),
        ({**TILT, "tolerance": 2.7}, "guardrails[1].tolerance", "below 2.64159 rad"),
        ({**SPEED, "tolerance": 1e308}, "guardrails[1].tolerance", "less than or equal to 1000000000"),
        ({**SPEED, "limit": 1e12}, "guardrails[1].limit", "less than or equal to 1000000000"),
        ({**SPEED, "joint": " "}, "guardrails[1].joint", "not blank"),
        ({**SPEED, "name": "\t"}, "guardrails[1].name", "not blank"),
        ({**TILT, "body": "\u3000"}, "guardrails[1].body", "not blank"),
        ({**SPEED, "joint": "a\0b"}, "guardrails[1].joint", "without NUL"),
        ({**SPEED, "name": "a\ud800"}, "guardrails[1].name", "unicode"),
        ({**APART, "geoms": ["a", " "]}, "guardrails[1].geoms[1]", "not blank"),
        ({**APART, "geoms": ["a", "b\0"]}, "guardrails[1].geoms[1]", "without NUL"),
        ({**OUT, "point": "site_position/ "}, "guardrails[1].point", "not blank"),
        ({**OUT, "point": "site_position/a\0"}, "guardrails[1].point", "without NUL"),
        ({**APART, "geoms": ["a", "a"]}, "guardrails[1]", "two different geoms"),
        ({**APART, "geoms": ["a", "b/c"]}, "guardrails[1].geoms[1]", "'b/c'"),
        ("joint_position", "guardrails[1]", "given a str; allowed: a mapping"),
    ],
)
def test_configuration(config: object, where: str, says: str) -> None:
    with pytest.raises(TelosError) as caught:
        build([{**SPEED, "name": "fine"}, config])  # pyright: ignore[reportArgumentType]
    assert caught.value.where == where
    assert says in str(caught.value)


def test_one_line_that_any_terminal_can_show() -> None:
    with pytest.raises(TelosError) as caught:
        build([{**SPEED, "joint": "a\ud800"}])
    assert str(caught.value).encode()
    assert "\n" not in str(caught.value)


def test_not_a_list() -> None:
    with pytest.raises(TelosError, match="given a dict; allowed: a list of guardrails"):
        build(JOINT)  # pyright: ignore[reportArgumentType]


def test_signals() -> None:
    rules = build([OUT])
    with pytest.raises(TelosError, match=r"site_position/hand; did you mean 'site_position/hands'.*allowed: "):
        rules.margins(Signals(state={"site_position/hands": torch.zeros(1, 2, 3), "x/y": torch.zeros(1, 2, 3)}))
    with pytest.raises(TelosError, match=r"given shape \(1, 2, 2\); allowed: \(N,H\+1,3\)"):
        rules.margins(Signals(state={"site_position/hand": torch.zeros(1, 2, 2)}))
    inside = build([{**OUT, "granularity": "substep"}])
    with pytest.raises(TelosError, match="allowed: none"):
        inside.margins(Signals(state={"site_position/hand": torch.zeros(1, 2, 3)}))
    with pytest.raises(TelosError, match=r"given shape \(1, 2, 3\); allowed: \(N,H,K,3\)"):
        inside.margins(Signals(interval={"site_position/hand": torch.zeros(1, 2, 3)}))
    with pytest.raises(TelosError, match=r"given shape \(4, 3\); allowed: \(…,1\)"):
        rules.violated(torch.zeros(4, 3))


def test_requests() -> None:
    for name in ("elbow", "/elbow", "joint_position/"):
        with pytest.raises(TelosError, match="kind/object"):
            Request(name, "state")
    with pytest.raises(TelosError, match="allowed: state, interval"):
        Request("a/b", "step")  # pyright: ignore[reportArgumentType]


def test_the_noun_checks_itself() -> None:
    fields = {
        "name": "a",
        "kind": "joint_position",
        "rule": (("lower", 0.0), ("upper", None)),
        "signals": (Request("joint_position/j", "state"),),
        "tolerance": 0.0,
        "scale": 1.0,
        "granularity": "step",
        "unit": "rad",
    }
    Guardrail(**fields)
    for change in (
        {"name": ""},
        {"kind": None},
        {"rule": (("lower", math.nan),)},
        {"rule": (("lower", True),)},
        {"rule": (("center", (0.0, math.inf)),)},
        {"signals": ()},
        {"signals": (Request("joint_position/j", "interval"),)},
        {"tolerance": -1.0},
        {"tolerance": math.inf},
        {"tolerance": None},
        {"scale": 0.0},
        {"granularity": "never"},
        {"unit": ""},
    ):
        with pytest.raises(TelosError, match="guardrail "):
            Guardrail(**{**fields, **change})


def test_unknown_names() -> None:
    rules = build([{**SPEED, "name": "speed"}])
    with pytest.raises(TelosError, match="did you mean 'speed'"):
        rules["sped"]
    with pytest.raises(TelosError, match="did you mean 'keep_in'"):
        resolve("keepin")


def test_plug_ins_feed_the_same_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    def installed(*points: EntryPoint) -> None:
        resolve.cache_clear()
        monkeypatch.setattr("envs.table.plug_ins", lambda group: points)

    try:
        installed(EntryPoint("theirs", "envs.guardrails.limits:JointPosition", "telos.guardrails"))
        assert "theirs" in kinds()
        with pytest.raises(TelosError, match="of another kind"):
            resolve("theirs")
        installed(EntryPoint("theirs", "json:JSONDecoder", "telos.guardrails"))
        with pytest.raises(TelosError, match="a subclass of GuardrailConfig"):
            resolve("theirs")
        installed(EntryPoint("theirs", "no_such_module:Rule", "telos.guardrails"))
        with pytest.raises(TelosError, match="no_such_module"):
            resolve("theirs")
        installed(EntryPoint("keep_out", "json:JSONDecoder", "telos.guardrails"))
        with pytest.raises(TelosError, match="not taken yet"):
            kinds()
    finally:
        resolve.cache_clear()


class Careless(JointVelocity, frozen=True):
    """A kind of another package."""

    kind: Literal["careless"] = "careless"


@pytest.mark.parametrize(
    "careless",
    [
        lambda margin: margin.amax(1),  # the best step, not the worst
        lambda margin: margin.amax(1, keepdim=True),
        lambda margin: margin.amax(),
        lambda margin: margin[:1],
        lambda margin: margin >= 0,
        lambda margin: margin.numpy(),
    ],
)
def test_a_margin_is_that_of_every_state(
    monkeypatch: pytest.MonkeyPatch, careless: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    monkeypatch.setattr("envs.guardrails.guardrail.resolve", lambda kind: Careless)
    (rule,) = build([{**SPEED, "name": "speed"}])
    speed = torch.zeros(4, 6, 1, dtype=torch.float64)
    signals = Signals({rule.signals[0].name: speed}, {})
    assert rule.margin(signals).shape == (4, 5)
    honest = Careless.margin
    monkeypatch.setattr(Careless, "margin", staticmethod(lambda params, *values: careless(honest(params, *values))))
    for judged in (rule.margin, rule.worst_margin):
        with pytest.raises(TelosError, match=r"guardrail 'speed': margin: given (Tensor|ndarray) of"):
            judged(signals)


def test_telos_error() -> None:
    error = TelosError("planner.kind", "'icen'", ["icem", "mppi"], nearest("icen", ["icem", "mppi"]))
    assert str(error) == "planner.kind: given 'icen'; did you mean 'icem'?; allowed: icem, mppi"
    assert str(TelosError("a", 3)) == "a: given 3"
    assert str(TelosError.unknown("planner.kind", "icen", ["icem", "mppi"])) == str(error)
    assert nearest("ICEM", ["icem"]) == "icem"
    assert nearest("zzz", ["icem"]) is None
    assert nearest(None, ["icem"]) is None
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert type(pickle.loads(pickle.dumps(GuardrailWeakened("a", "b", "c")))) is GuardrailWeakened
