"""Valid configs, mutated at random: they are built, or refused with a TelosError; nothing else comes out."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import run
from agent.load import load
from envs.errors import TelosError

BASE: dict[str, Any] = {
    "task": "dm_control/cartpole-swingup-v0",
    "seed": 1,
    "episodes": 2,
    "frames": 30,
    "threads": 1,
    "variant": {"mass": 1.1, "latency": 1, "observation_noise": 0.01},
    "perception": {"kind": "privileged"},
    "world_model": {"kind": "simulator", "timestep": 0.01, "integrator": "RK4", "iterations": 10},
    "cost": {
        "task": 1.0,
        "effort": 0.1,
        "residuals": [{"signal": "joint_position/slider", "norm": "l2", "width": 0.1, "weight": 0.5}],
    },
    "planner": {"kind": "icem", "horizon": 20, "budget": {"evaluations": 32}, "params": {"knots": 5, "iterations": 2}},
    "back_up": {"seconds": 1.0, "rest_speed": 0.1, "gain": 1.0, "joints": ["slider"]},
    "guardrails": [
        {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -1.0, "upper": 1.0, "scale": 0.1},
        {
            "kind": "keep_out",
            "name": "wall",
            "point": "body_position/cart",
            "clearance": 0.01,
            "scale": 0.01,
            "zone": {"shape": "box", "center": [2.0, 0.0, 1.0], "half_sizes": [0.1, 0.1, 0.1]},
        },
    ],
    "configurator": {
        "rules": [{"quantity": "plan_cost", "rises_by": 0.5, "budget_factor": 2.0, "weights": {"effort": 0.2}}]
    },
    "memory": {"capacity": 4},
    "video": False,
}

WORDS = [
    "",
    "icem",
    "slider",
    "box",
    "privileged",
    "dm_control/cartpole-swingup-v0",
    "joint_position/slider",
    "∞",
    "a" * 300,
]
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**9, -(10**20), 10**400]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(WORDS),
    st.text(max_size=5),
    st.dates(),
    st.binary(max_size=3),
)
nested = st.recursive(
    junk,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["kind", "name", "signal", "lower", "x"]), inner, max_size=3),
    ),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += _places(item, (*path, key))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """The base config with one to three edits anywhere in it."""
    config = copy.deepcopy(BASE)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(config)
        if not places:
            break
        *parents, key = draw(st.sampled_from(places))
        within: Any = config
        for parent in parents:
            within = within[parent]
        edit = draw(st.sampled_from(["replace", "delete", "add", "rename", "repeat"]))
        if edit == "delete":
            del within[key]
        elif edit == "add" and isinstance(within, dict):
            within[draw(st.text(max_size=6))] = draw(nested)
        elif edit == "rename" and isinstance(within, dict):
            within[draw(st.sampled_from(["kindd", "Name", "", "signal", "upper"]))] = within.pop(key)
        elif edit == "repeat" and isinstance(within, list):
            within.append(copy.deepcopy(within[key]))
        else:
            within[key] = draw(nested)
    return config


def _load_and_build(config: Any, file: Path) -> None:
    file.write_text(yaml.safe_dump(config, allow_unicode=True))
    with contextlib.suppress(TelosError):
        loaded = load(str(file))
        _, env, _ = run.made(loaded)
        env.close()


def test_the_base_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(BASE))
    _, env, _ = run.made(load(str(file)))
    env.close()


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(config=mutated())
def test_mutated_configs_are_built_or_refused(config: Any, tmp_path_factory: Any) -> None:
    _load_and_build(config, tmp_path_factory.getbasetemp() / "mutated.yaml")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)))
def test_any_bytes_are_refused(data: bytes, tmp_path_factory: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes.yaml"
    file.write_bytes(data)
    try:
        load(str(file))
    except TelosError:
        return
    raise AssertionError("random bytes are no config")
