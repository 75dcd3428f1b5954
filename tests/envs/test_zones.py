"""Zones of a model: the distance to them is a signal, aligned with the state, and they do not affect the physics."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from agent import build
from agent.config.load import load
from envs import registry
from envs.errors import TelosError
from envs.guardrails import build as build_guardrails
from envs.percept import Percept
from envs.physics import signals
from envs.physics.batch import BatchPhysics
from envs.requests import Request
from envs.task import at_states, in_steps
from envs.zones import Zone, declared, signed_distance

# A zone on a body that moves and turns, and points that fall past it.
MODEL = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <body name="door">
      <joint name="hinge" type="hinge" axis="0 0 1" damping=".01"/>
      <geom type="box" size=".3 .02 .3" mass="1" contype="0" conaffinity="0"/>
      <site name="danger" type="{type}" size="{size}" pos=".2 .1 0" euler="20 30 40"/>
    </body>
    <body name="ball" pos=".2 .12 .2">
      <freejoint/>
      <geom name="ball" size=".02" mass=".1" contype="0" conaffinity="0"/>
      <site name="edge" pos=".02 0 0"/>
    </body>
  </worldbody>
  <actuator><motor name="turn" joint="hinge" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
SHAPES = {
    "sphere": (".15", {"shape": "sphere", "radius": 0.15}),
    "cylinder": (".1 .2", {"shape": "cylinder", "radius": 0.1, "height": 0.4}),
    "box": (".1 .2 .3", {"shape": "box", "half_sizes": (0.1, 0.2, 0.3), "yaw": 0.0}),
}
POINTS = {
    "body_position/ball": lambda d: d.body("ball").xpos,
    "site_position/edge": lambda d: d.site("edge").xpos,
    "geom_position/ball": lambda d: d.geom("ball").xpos,
    "inertial_position/ball": lambda d: d.body("ball").xipos,
}


def _spec(shape: str) -> mujoco.MjSpec:
    return mujoco.MjSpec.from_string(MODEL.format(type=shape, size=SHAPES[shape][0]))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_distance_is_that_of_the_state_also_to_a_zone_that_moves(shape: str) -> None:
    names = [f"zone_distance/danger/{point}" for point in POINTS]
    physics = BatchPhysics(lambda: _spec(shape), (*at_states(*names), *in_steps(*names)), 0.01, threads=1)
    data = mujoco.MjData(physics.model)
    start = np.empty(mujoco.mj_stateSize(physics.model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(physics.model, data, start, mujoco.mjtState.mjSTATE_INTEGRATION)
    controls = np.ones((1, 40, 1))
    found = physics.rollout(start, controls).signals
    params = {**SHAPES[shape][1], "center": (0.0, 0.0, 0.0)}
    inside = False
    for step in range(41):
        mujoco.mj_forward(physics.model, data)
        zone = data.site("danger")
        for point, name in zip(POINTS, names, strict=True):
            local = zone.xmat.reshape(3, 3).T @ (POINTS[point](data) - zone.xpos)
            expected = float(signed_distance(params, torch.from_numpy(local)))
            assert float(found.state[name][0, step]) == pytest.approx(expected, abs=1e-12)
            if step:
                assert float(found.last(name)[0, step - 1]) == pytest.approx(expected, abs=1e-12)
            inside |= expected < 0
        data.ctrl[:] = 1.0
        mujoco.mj_step(physics.model, data, 2)
    assert inside, "the ball must fall through the zone"
    assert found.state[names[0]].shape == (1, 41, 1)
    assert found.interval[names[0]].shape == (1, 40, 2, 1)
    looked = physics.look(start)
    assert looked is not None
    assert float(looked.state[names[0]][0, 0]) == float(found.state[names[0]][0, 0])


coordinate = st.floats(-1, 1)
size = st.floats(0.05, 0.5)
center = st.tuples(coordinate, coordinate, coordinate)
zones = st.one_of(
    st.fixed_dictionaries({"shape": st.just("sphere"), "center": center, "radius": size}),
    st.fixed_dictionaries({"shape": st.just("cylinder"), "center": center, "radius": size, "height": size}),
    st.fixed_dictionaries(
        {"shape": st.just("box"), "center": center, "half_sizes": st.tuples(size, size, size), "yaw": st.floats(-4, 4)}
    ),
)


@settings(max_examples=25)
@given(zones)
def test_a_declared_zone_is_where_a_guardrail_would_have_it(zone: dict) -> None:
    task = registry.load("dm_control/reacher-easy-v0")
    spec = declared(task.spec, {"pillar": TypeAdapter(Zone).validate_python(zone)}, "zones")
    rules = build_guardrails([{"kind": "keep_out", "name": "off", "point": "geom_position/finger", "zone": zone}])
    name = "zone_distance/pillar/geom_position/finger"
    physics = BatchPhysics(spec, (*rules.requests, Request(name, "state")), 0.02, threads=1)
    start = np.zeros(physics.state_size)
    start[1:3] = 0.3, 0.7
    found = physics.rollout(start, np.full((1, 3, 2), 0.5)).signals
    torch.testing.assert_close(found.after(name)[..., 0], rules.step_margins(found)[..., 0], rtol=0, atol=1e-12)


def test_a_zone_changes_nothing_but_what_can_be_asked() -> None:
    task = registry.load("dm_control/walker-walk-v0")
    zone = TypeAdapter(Zone).validate_python({"shape": "sphere", "center": (0.0, 0.0, 1.0), "radius": 0.5})
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 20, 6))
    finals = []
    for spec in (task.spec, declared(task.spec, {"cloud": zone}, "zones")):
        physics = BatchPhysics(spec, task.requests, 0.025, threads=1)
        start = np.zeros(physics.state_size)
        finals.append(np.array(physics.rollout(start, actions).final))
    np.testing.assert_array_equal(*finals)


def test_a_cost_on_a_declared_zone_drives_out_of_it() -> None:
    """The zone acts only through its cost's weight, unlike a guardrail (the finger's resets write into the sites)."""
    task, distance = "dm_control/finger-turn_easy-v0", {}
    env = registry.make(task)
    env.reset(seed=3)
    center = [float(x) for x in env.backend.data.site("tip").xpos]
    env.close()
    shy = {"signal": "zone_distance/fire/site_position/tip", "norm": "tolerance", "lower": 0.02, "margin": 0.2}
    for weight in (0.0, 5.0):
        overrides = {
            "zones": {"fire": {"shape": "sphere", "center": center, "radius": 0.05}},
            "cost": {"task": 0.0, "residuals": [{**shy, "weight": weight}]},
            "planner.budget.evaluations": 48,
        }
        config = load(task=task, overrides=overrides)
        env = build.environment(config)
        agent = build.agent(config, env.task, env.interface)
        observation, _ = env.reset(seed=3)
        agent.reset(seed=0)
        for _ in range(40):
            observation, *_ = env.step(agent.act(Percept(observation, env.snapshot())).action)
        distance[weight] = math.dist(env.backend.data.site("tip").xpos, center) - 0.05
        env.close()
    assert distance[0.0] < 0 < distance[5.0], distance


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("zone_distance/danger", "zone_distance/ZONE/POINT"),
        ("zone_distance/danger/qpos", "body_position"),
        ("zone_distance/danger/joint_position/hinge", "site_position"),
        ("zone_distance/dangr/site_position/edge", "danger"),
        ("zone_distance/danger/site_position/edg", "edge"),
    ],
)
def test_what_is_no_zone_or_no_point_is_refused(name: str, said: str) -> None:
    with pytest.raises(TelosError, match=said):
        signals.check(_spec("box"), Request(name, "state"))


def test_a_site_of_another_shape_is_no_zone() -> None:
    spec = lambda: mujoco.MjSpec.from_string(MODEL.format(type="ellipsoid", size=".1 .2 .3"))  # noqa: E731
    with pytest.raises(TelosError, match="ellipsoid"):
        BatchPhysics(spec, at_states("zone_distance/danger/body_position/ball"), 0.01)


@pytest.mark.parametrize("name", ["danger", "", "a/b"])
def test_a_zone_needs_a_name_of_its_own(name: str) -> None:
    zone = TypeAdapter(Zone).validate_python({"shape": "sphere", "center": (0.0, 0.0, 1.0), "radius": 0.5})
    with pytest.raises(TelosError, match=rf"zones\.{name}"):
        declared(lambda: _spec("box"), {name: zone}, "zones")()
