"""A rule that no state of the model can break is refused; a rule that some state breaks is never refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any, Literal, cast

import mujoco
import numpy as np
import pytest
from torch import Tensor

from envs import registry
from envs.errors import TelosError
from envs.guardrails import Guardrails, build
from envs.guardrails.config import Params
from envs.guardrails.limits import JointVelocity
from envs.guardrails.registry import resolve
from envs.guardrails.vacuity import insist_breakable
from envs.physics import signals
from envs.physics.batch import BatchPhysics
from envs.requests import POINTS
from envs.sizes import check_guardrails
from envs.task import Backend, Task, in_steps

REACHER = "dm_control/reacher-easy-v0"

MODEL = """
<mujoco>
  {flags}
  <worldbody>
    <geom name="floor" type="plane" size="5 5 .1"/>
    <geom name="rock" type="sphere" size=".1" pos="900 0 1"/>
    <site name="mark" pos="1 1 1"/>
    <body name="frame"><geom name="post" type="box" size=".1 .1 .5"/></body>
    <body name="crane" mocap="true" pos="0 0 2"><geom name="hook" type="sphere" size=".05"/></body>
    <body name="cart" pos="0 0 .6">
      <joint name="rail" type="slide" axis="1 0 0"/>
      <geom name="hull" type="box" size=".1 .2 .3"/>
      <geom name="paint" type="sphere" size=".1" contype="0" conaffinity="0"/>
      <body name="arm">
        <joint name="hinge" axis="0 1 0"/>
        <geom name="rod" type="capsule" size=".02" fromto="0 0 0 0 0 .5"/>
        <site name="tip" pos="0 0 .5"/>
        <body name="ghost"><geom name="veil" size=".1" contype="0" conaffinity="0"/></body>
      </body>
    </body>
    <body name="drone" pos="3 0 2"><freejoint/><geom name="shell" size=".1"/></body>
    <body name="lid" pos="0 3 1"><joint name="turn" axis="0 0 1"/>
      <geom type="box" size=".3 .1 .1"/><site name="rim" pos=".4 0 0"/></body>
    <body name="gyro" pos="0 5 1"><joint type="ball"/><geom type="box" size=".1 .1 .1"/></body>
  </worldbody>
  <actuator>
    <motor name="push" joint="rail" ctrlrange="1000 2000"/>
    <motor name="clipped" joint="hinge" forcerange="5 5.0001" ctrlrange="-1 1"/>
    <general name="dead" joint="hinge" gainprm="0" ctrlrange="-1 1"/>
    <position name="servo" joint="hinge" kp="1e9" forcerange="-10 10" ctrlrange="-1 1"/>
    <intvelocity name="integrated" joint="hinge" kp="3" actrange="-1 1" ctrlrange="-1 1"/>
    <general name="weak" joint="hinge" gainprm="1e-6" ctrlrange="-1 1"/>
    <motor name="off" joint="hinge" group="3" ctrlrange="-1 1"/>
  </actuator>
  <sensor>
    <framepos name="place" objtype="site" objname="tip" cutoff="1e-6"/>
    <subtreecom name="middle" body="cart"/>
    <framepos name="fixed" objtype="site" objname="mark"/>
    <velocimeter name="speed" site="tip"/>
    <magnetometer name="north" site="tip"/>
    <accelerometer name="shake" site="tip"/>
    <framexaxis name="axis" objtype="site" objname="tip"/>
  </sensor>
</mujoco>
"""
ROOF = {"shape": "box", "center": [0, 0, 9], "half_sizes": [2, 2, 2]}
BALL = {"shape": "sphere", "center": [0.0, 0.0, 0.5], "radius": 0.1}


@dataclass
class World:
    """A backend with only a model and resets."""

    model: mujoco.MjModel
    names: tuple[str, ...]  # fields that a reset draws
    closed: list[bool] = field(default_factory=list)

    def reset(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for name in self.names:
            values = getattr(self.model, name)
            values += rng.standard_normal(values.shape)

    def close(self) -> None:
        self.closed.append(True)


def task(xml: str = MODEL, flags: str = "", drawn: Sequence[str] = ()) -> Task:
    def spec() -> mujoco.MjSpec:
        return mujoco.MjSpec.from_string(xml.replace("{flags}", flags))

    def backend() -> Backend:
        return cast(Backend, World(spec().compile(), tuple(drawn)))

    return Task("mine", backend, spec, cast(Any, None), (), params=tuple(drawn))


def rule(kind: str, **values: Any) -> Guardrails:
    return build([{"kind": kind, "name": "rule", **values}])


def off(point: str, **values: Any) -> Guardrails:
    return rule("keep_out", point=point, zone=BALL, **values)


def refusal(rules: Guardrails, within: Task | None = None) -> TelosError:
    with pytest.raises(TelosError) as caught:
        check_guardrails(within or task(), rules)
    return caught.value


CONSTANT = {
    "the world": off("body_position/world"),
    "a site of the world": off("site_position/mark"),
    "a body without joints": off("body_position/frame", granularity="substep"),
    "its centre of mass": off("center_of_mass/frame"),
    "its inertial frame": off("inertial_position/frame"),
    "a geom of it": rule("keep_in", point="geom_position/post", zone={"center": [0, 0, 0], "half_sizes": [1, 1, 1]}),
    "a sensor of the model": off("sensor/fixed"),
    "two fixed geoms": rule("geom_distance", geoms=["post", "floor"], minimum=0.0),
    "two geoms of one body": rule("geom_distance", geoms=["hull", "paint"], minimum=0.0),
    "a height on rails": rule("body_height", body="cart", lower=0.1),
    "the tilt of what slides": rule("body_orientation", body="cart", limit=0.5),
    "the axis of a hinge": rule("body_orientation", body="arm", axis="y", toward="+y", limit=0.5),
    "an axis that goes round another one": rule("body_orientation", body="lid", axis="x", limit=0.5),
    "a speed of the world": rule("body_velocity", body="world", limit=1.0),
    "a speed of a fixed body": rule("body_velocity", body="frame", limit=1.0),
    "a circle round a zone": rule("keep_out", point="site_position/rim", zone={**BALL, "center": [0, 3, 1]}),
    "an actuator without gain": rule("actuator_force", actuator="dead", limit=1.0),
    "its power": rule("actuator_power", actuator="dead", limit=1.0),
    "a height far above its bound": rule("body_height", body="frame", lower=-1e9),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_what_is_constant_is_refused(name: str) -> None:
    error = refusal(CONSTANT[name])
    assert error.where == "guardrail 'rule'.signals"
    assert "constant in this model" in error.given or "at all states of this model" in error.given
    assert "\n" not in str(error)


MOVES = {
    "a point on rails": off("body_position/cart"),
    "a point that turns": off("site_position/tip"),
    "a centre of mass": off("center_of_mass/cart"),
    "the centre of mass of all": off("center_of_mass/world"),
    "a mocap body": off("body_position/crane"),
    "a sensor that is clipped": off("sensor/place"),
    "a sensor of a centre of mass": off("sensor/middle"),
    "a height": rule("body_height", body="drone", lower=0.1, granularity="substep"),
    "a tilt": rule("body_orientation", body="arm", limit=0.5),
    "a tilt of a ball joint": rule("body_orientation", body="gyro", axis="y", toward="-x", limit=0.5),
    "a tilt in the plane": rule("body_orientation", body="lid", axis="x", toward="+x", limit=0.5),
    "a rock beyond the cutoff": rule("geom_distance", geoms=["shell", "rock"], minimum=0.0),
    "a rock beyond the cutoff, on rails": rule("geom_distance", geoms=["hull", "rock"], minimum=0.0),
    "a mocap geom": rule("geom_distance", geoms=["hook", "floor"], minimum=0.0),
    "a joint": rule("joint_position", joint="hinge", upper=1.0),
    "its speed": rule("joint_velocity", joint="hinge", limit=1.0),
    "a speed": rule("body_velocity", body="arm", limit=1.0),
    "a motor far from 0": rule("actuator_force", actuator="push", limit=1.0, unit="N"),
    "its power": rule("actuator_power", actuator="push", limit=1.0),
    "a motor that is clipped": rule("actuator_force", actuator="clipped", limit=1.0),
    "a servo that is clipped": rule("actuator_force", actuator="servo", limit=1.0),
    "a weak motor far below its limit": rule("actuator_force", actuator="weak", limit=1e9),
    "an activation": rule("actuator_force", actuator="integrated", limit=1.0),
    "a contact": rule("contact_force", contact="cart", limit=1.0),
    "a contact with a mocap body": rule("strongest_contact", contact="crane", limit=1.0),
    "a zone above": rule("keep_out", point="body_position/cart", zone=ROOF),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_passes(name: str) -> None:
    check_guardrails(task(), MOVES[name])


UNTOUCHABLE = {
    "without collisions": ("ghost", ""),
    "contacts are off": ("cart", '<option><flag contact="disable"/></option>'),
    "constraints are off": ("drone", '<option><flag constraint="disable"/></option>'),
    "sensors are off": ("drone", '<option><flag sensor="disable"/></option>'),
}


@pytest.mark.parametrize("kind", ["contact_force", "strongest_contact"])
@pytest.mark.parametrize("name", UNTOUCHABLE)
def test_a_contact_that_cannot_be_is_refused(kind: str, name: str) -> None:
    body, flags = UNTOUCHABLE[name]
    error = refusal(rule(kind, contact=body, limit=1.0), task(flags=flags))
    assert "which is 0 at all states" in error.given


ALONE = """
<mujoco>
  {flags}
  <worldbody>
    <body name="upper"><joint name="a" axis="0 1 0"/><geom name="u" size=".1" fromto="0 0 0 0 0 .5" type="capsule"/>
      <body name="lower" pos="0 0 .5"><joint axis="0 1 0"/>
        <geom name="l" size=".1" fromto="0 0 0 0 0 .5" type="capsule"/></body>
    </body>
  </worldbody>
  <actuator><motor joint="a" ctrlrange="-1 1"/></actuator>
  {more}
</mujoco>
"""


@pytest.mark.parametrize(
    ("flags", "more", "touches"),
    [
        ("", "", False),  # a body and its parent do not collide
        ('<option><flag filterparent="disable"/></option>', "", True),
        ("", '<contact><pair geom1="u" geom2="l"/></contact>', True),
    ],
)
def test_a_body_and_its_parent(flags: str, more: str, touches: bool) -> None:
    xml = ALONE.replace("{more}", more).replace("{flags}", flags)
    rules, within = rule("contact_force", contact="lower", limit=1.0), task(xml)
    model = within.spec().compile()
    data = mujoco.MjData(model)
    data.qpos[1] = 3.0
    mujoco.mj_forward(model, data)
    assert bool(data.ncon) == touches, "as MuJoCo has it"
    if touches:
        check_guardrails(within, rules)
    else:
        assert "none of its geoms collides" in refusal(rules, within).given


def test_what_stands_on_the_floor_of_a_world_without_anything_else() -> None:
    """MuJoCo does not check contacts between bodies that are welded together."""
    xml = ALONE.replace("{more}", "").replace("{flags}", "")
    post = '<geom type="plane" size="1 1 1"/><body name="post"><geom size=".1"/></body></worldbody>'
    hollow = xml.replace("<geom name", '<geom contype="0" conaffinity="0" name').replace("</worldbody>", post)
    rules = rule("contact_force", contact="post", limit=1.0)
    assert "none of its geoms collides" in refusal(rules, task(hollow)).given
    check_guardrails(task(xml.replace("</worldbody>", post)), rules)


@pytest.mark.parametrize("flag", ["sensor", "actuation"])
def test_what_a_flag_of_the_model_switches_off_is_constant(flag: str) -> None:
    within = task(flags=f'<option><flag {flag}="disable"/></option>')
    assert "constant" in refusal(rule("actuator_force", actuator="push", limit=1.0, unit="N"), within).given


def test_an_actuator_of_a_group_that_is_off_is_constant() -> None:
    rules = rule("actuator_force", actuator="off", limit=1.0)
    check_guardrails(task(), rules)
    assert "constant" in refusal(rules, task(flags='<option actuatorgroupdisable="3"/>')).given


def test_what_a_reset_moves_passes() -> None:
    rules = off("site_position/mark")
    check_guardrails(task(drawn=["site_pos"]), rules)
    assert "constant" in refusal(rules, task(drawn=["geom_rgba"])).given
    touched = rule("contact_force", contact="ghost", limit=1.0)
    check_guardrails(task(drawn=["geom_rgba", "geom_contype"]), touched)


def test_the_target_that_a_reset_of_the_reacher_draws() -> None:
    check_guardrails(registry.load(REACHER), off("geom_position/target"))
    assert "constant" in refusal(off("geom_position/ground"), registry.load(REACHER)).given


def on_every_body(within: Task) -> Guardrails:
    rules: list[dict[str, Any]] = []
    for body in signals.names_of(within.spec(), "body"):
        rules += [{"kind": "body_orientation", "body": body, "axis": axis, "limit": 0.5} for axis in ("x", "y", "z")]
        rules += [{"kind": "keep_out", "point": f"{kind}/{body}", "zone": BALL} for kind in POINTS[:2]]
        rules += [{"kind": "body_height", "body": body, "lower": 0.0}]
        rules += [{"kind": "body_velocity", "body": body, "limit": 1.0}]
    return build([{**values, "name": f"{i:03}"} for i, values in enumerate(rules)])


@pytest.mark.parametrize("name", ["dm_control/hopper-hop-v0", "InvertedDoublePendulum-v5", "Pusher-v5"])
def test_what_is_refused_stays_the_same_in_real_episodes(name: str) -> None:
    env = registry.make(name)
    rules = on_every_body(env.task)
    physics = BatchPhysics(env.task.spec, rules.requests, env.interface.control_period, threads=1)
    margins, rng = [], np.random.default_rng(0)
    for seed in range(3):
        env.reset(seed=seed)
        for _ in range(8):
            env.step(rng.uniform(-1, 1, env.interface.action_size))
            snapshot = env.snapshot()
            physics.set_params(snapshot.params)
            seen = physics.look(snapshot.state)
            assert seen is not None
            margins.append(rules.margins(seen)[0].numpy())
    env.close()
    spread = np.ptp(margins, axis=0)
    refused = []
    for column, one in enumerate(rules):
        try:
            insist_breakable(physics.model, [one], env.task)
        except TelosError:
            refused.append(column)
    assert 0 < len(refused) < len(rules)
    assert spread[refused].max() < 1e-9


def test_the_worlds_of_resets_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = task(drawn=["site_pos"])
    world = made.backend()
    check_guardrails(replace(made, backend=lambda: world), off("site_position/mark"))
    assert cast(World, world).closed == [True]


@pytest.mark.parametrize("name", ["speed", "north", "shake", "axis"])
def test_a_sensor_of_no_position_is_refused_with_those_that_are(name: str) -> None:
    granularity = "substep" if name == "shake" else "step"
    error = refusal(off(f"sensor/{name}", granularity=granularity))
    assert error.where == "guardrail 'rule'.signals"
    assert "no position" in error.given
    assert "sensor/place" in (error.allowed or "")
    assert "sensor/north" not in (error.allowed or "")


def test_the_nearest_sensor_is_named() -> None:
    assert refusal(off("sensor/fixedd")).nearest in ("fixed", "sensor/fixed")


DEEPEST = {"two balls": ("hook", "shell", 0.15), "a box and a ball": ("hull", "shell", 0.1 + 0.14**0.5)}


@pytest.mark.parametrize("name", DEEPEST)
def test_geoms_overlap_only_so_deeply(name: str) -> None:
    first, second, deepest = DEEPEST[name]
    apart = {"geoms": [first, second], "minimum": 0.01}
    check_guardrails(task(), rule("geom_distance", **apart, tolerance=deepest))
    error = refusal(rule("geom_distance", **apart, tolerance=deepest + 0.011))
    assert error.where == "guardrail 'rule'.tolerance"
    assert f"below {deepest + 0.01:g} m" in (error.allowed or "")


def test_a_plane_has_no_deepest_point_and_sizes_may_be_drawn() -> None:
    check_guardrails(task(), rule("geom_distance", geoms=["floor", "shell"], minimum=0.0, tolerance=5.0))
    two = rule("geom_distance", geoms=["hook", "shell"], minimum=0.0, tolerance=5.0)
    check_guardrails(task(drawn=["geom_size"]), two)


SOLIDS = {"sphere": ".2", "capsule": ".1 .3", "ellipsoid": ".1 .2 .3", "cylinder": ".1 .4", "box": ".3 .2 .1"}


@pytest.mark.parametrize("first", SOLIDS)
@pytest.mark.parametrize("second", SOLIDS)
def test_no_two_solids_are_deeper_in_each_other_than_their_radii(first: str, second: str) -> None:
    geoms = [
        f'<body><freejoint/><geom name="{name}" type="{kind}" size="{SOLIDS[kind]}"/></body>'
        for name, kind in (("a", first), ("b", second))
    ]
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{''.join(geoms)}</worldbody></mujoco>")
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    for spread in (0.0, 1e-3, 0.05, 0.2):
        for _ in range(10):
            data.qpos[:] = spread * rng.standard_normal(14)
            data.qpos[[3, 4, 5, 6, 10, 11, 12, 13]] = rng.standard_normal(8)
            mujoco.mj_kinematics(model, data)
            found = mujoco.mj_geomDistance(model, data, 0, 1, 10.0, None)
            assert found >= -1.001 * model.geom_rbound.sum()


class Late(JointVelocity, frozen=True):
    """A kind of another package whose margin is constant wherever it is sampled."""

    kind: Literal["late"] = "late"

    @staticmethod
    def margin(params: Params, *values: Tensor) -> Tensor:
        return params["upper"] - values[0].clamp(min=1e6)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    resolve.cache_clear()
    points = (EntryPoint("late", f"{Late.__module__}:Late", "telos.guardrails"),)
    monkeypatch.setattr("envs.table.plug_ins", lambda group: points)
    monkeypatch.setitem(sys.modules, Late.__module__, SimpleNamespace(Late=Late))
    yield
    resolve.cache_clear()


@pytest.mark.usefixtures("late")
def test_a_kind_of_another_package_is_refused_only_where_its_signals_are_constant() -> None:
    check_guardrails(task(), rule("late", joint="hinge", upper=2e6))
    off_sensors = task(flags='<option><flag sensor="disable"/></option>')
    assert "constant" in refusal(rule("late", joint="hinge", upper=2e6), off_sensors).given


@pytest.mark.usefixtures("late")
def test_a_kind_of_another_package_may_read_a_contact_that_cannot_be_beside_what_moves() -> None:
    (plain,) = rule("late", joint="hinge", upper=2e6, granularity="substep")
    both = replace(plain, signals=(*in_steps("contact_force/ghost"), *plain.signals))
    check_guardrails(task(), Guardrails([both]))


def test_the_same_rules_are_refused_each_time() -> None:
    assert str(refusal(CONSTANT["a circle round a zone"])) == str(refusal(CONSTANT["a circle round a zone"]))
