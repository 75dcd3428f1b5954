"""Signals in a config must fit the model; otherwise they are refused before the simulation."""

from __future__ import annotations

from typing import Any

import pytest

from agent import build
from agent.config.config import Config
from envs import registry
from envs.errors import TelosError
from envs.guardrails.registry import build as rules_of
from envs.residuals import Residual
from envs.sizes import check_guardrails, check_residuals

CARTPOLE, REACHER, QUADRUPED = (
    "dm_control/cartpole-swingup-v0",
    "dm_control/reacher-easy-v0",
    "dm_control/quadruped-walk-v0",
)
ZONE = {"shape": "box", "center": [9.0, 0.0, 0.0], "half_sizes": [0.1, 0.1, 0.1]}
OUT = {"kind": "keep_out", "name": "wall", "zone": ZONE}
FELT = {**OUT, "granularity": "substep"}
RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "upper": 1.0, "unit": "m"}
SPEED = {"kind": "joint_velocity", "name": "speed", "joint": "slider", "limit": 1.0, "unit": "m/s"}

RESIDUALS = {
    "another size": (REACHER, {"signal": "qpos", "reference": "geom_position/target"}, "reference", "3 components"),
    "target of another length": (REACHER, {"signal": "qpos", "target": (1, 2, 3)}, "target", "3 numbers"),
    "empty target": (REACHER, {"signal": "qpos", "target": ()}, "target", "0 numbers"),
    "target of a component": (REACHER, {"signal": "qpos", "component": 0, "target": (1, 2)}, "target", "2 numbers"),
    "component out of range": (REACHER, {"signal": "qpos", "component": 99}, "component", "allowed: 0 to 1"),
    "raw view": (REACHER, {"signal": "raw/xpos"}, "signal", "raw/xpos"),
    "raw reference": (REACHER, {"signal": "qpos", "reference": "raw/xpos"}, "reference", "raw/xpos"),
    "post-constraint view": (REACHER, {"signal": "post_constraint/cfrc_ext"}, "signal", "post_constraint"),
    "no components": (REACHER, {"signal": "act"}, "signal", "at least one component"),
    "unknown kind": (REACHER, {"signal": "qqpos"}, "signal", "did you mean 'qpos'"),
    "unknown object": (REACHER, {"signal": "geom_position/targt"}, "signal", "did you mean 'target'"),
    "no object": (REACHER, {"signal": "geom_position"}, "signal", "geom_position/GEOM"),
    "force-stage sensor": (QUADRUPED, {"signal": "sensor/imu_accel"}, "signal", "substep"),
    "geoms without a distance": (QUADRUPED, {"signal": "geom_distance/floor/floor"}, "signal", "MuJoCo can compute"),
}


@pytest.mark.parametrize("name", RESIDUALS)
def test_residuals_that_do_not_fit(name: str) -> None:
    task, term, key, text = RESIDUALS[name]
    config = Config.model_validate({"task": task, "cost": {"residuals": [{"signal": "time"}, term]}, "threads": 1})
    with pytest.raises(TelosError) as caught:
        build.agent(config)
    assert caught.value.where == f"cost.residuals[1].{key}"
    assert text in str(caught.value)


RULES = {
    "a sensor that is not there": (CARTPOLE, {**OUT, "point": "sensor/slider"}, ".signals", "allowed: none"),
    "a force is no point": (QUADRUPED, {**FELT, "point": "sensor/force_toe_back_left"}, ".signals", "no position"),
    "an acceleration is no point": (QUADRUPED, {**FELT, "point": "sensor/imu_accel"}, ".signals", "no position"),
    "a velocity is no point": (QUADRUPED, {**OUT, "point": "sensor/velocimeter"}, ".signals", "no position"),
    "unknown object": (CARTPOLE, {**OUT, "point": "body_position/crat"}, ".signals", "did you mean 'cart'"),
    "a slide in rad": (CARTPOLE, {**RAIL, "unit": "rad"}, ".unit", "allowed: 'm'"),
    "a hinge in m": (CARTPOLE, {**RAIL, "joint": "hinge_1"}, ".unit", "allowed: 'rad'"),
    "a slide in rad/s": (CARTPOLE, {**SPEED, "unit": "rad/s"}, ".unit", "allowed: 'm/s'"),
    "a hinge in m/s": (CARTPOLE, {**SPEED, "joint": "hinge_1"}, ".unit", "allowed: 'rad/s'"),
}


@pytest.mark.parametrize("name", RULES)
def test_guardrails_that_do_not_fit(name: str) -> None:
    task, rule, key, text = RULES[name]
    config = Config.model_validate({"task": task, "guardrails": [rule], "threads": 1})
    with pytest.raises(TelosError) as caught:
        build.agent(config)
    assert caught.value.where == f"guardrail {rule['name']!r}{key}"
    assert text in str(caught.value)


def test_what_fits_passes() -> None:
    terms: list[dict[str, Any]] = [
        {"signal": "geom_position/finger", "reference": "geom_position/target", "target": (0, 0, 1)},
        {"signal": "qpos", "reference": "time", "component": 1},
        {"signal": "ctrl", "target": (0, 0)},
    ]
    check_residuals(registry.load(REACHER).spec(), [Residual(**term) for term in terms], "cost.residuals")
    check_guardrails(registry.load(CARTPOLE), rules_of([RAIL, SPEED, {**OUT, "point": "body_position/cart"}]))
