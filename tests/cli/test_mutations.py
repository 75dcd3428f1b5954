"""Randomly mutated configs are either built and run for one step, or refused with a TelosError."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config.config import BudgetConfig, Config, EstimatedConfig
from agent.config.load import load
from agent.rollouts import episode, player
from envs.errors import TelosError

FEW, MANY = 60, 500  # configs of each kind
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
    "back_up": {"seconds": 1.5, "rest_speed": 0.1, "gain": 5.0, "joints": ["slider"]},
    "guardrails": [
        {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -1.0, "upper": 1.0, "unit": "m"},
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
    "qpos",
    "raw/xpos",
    "sensor/none",
    "estimated",
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


def _tiny(config: Config) -> Config:
    """The config with a minimal search, because a valid config may ask for hours."""
    planner, perception = config.planner, config.perception
    budget = BudgetConfig(evaluations=8) if planner.budget.seconds is None else BudgetConfig(seconds=1e-3)
    planner = planner.model_copy(update={"horizon": min(planner.horizon, 6), "budget": budget})
    if isinstance(perception, EstimatedConfig):
        perception = perception.model_copy(update={"iterations": 1})
    return config.model_copy(update={"planner": planner, "perception": perception})


def _one_step(text: str, file: Path) -> None:
    """The beginning of a run: a judged reset, one decision through the gate, one judged step."""
    file.write_bytes(text.encode(errors="surrogatepass"))
    with contextlib.suppress(TelosError):
        loaded = _tiny(load(str(file)))
        agent, world = player.made(loaded)
        with contextlib.closing(world.env):
            episode.run(agent, world, loaded.seed, 0, frames=1)


def test_the_base_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(BASE))
    loaded = _tiny(load(str(file)))
    agent, world = player.made(loaded)
    with contextlib.closing(world.env):
        assert len(episode.run(agent, world, loaded.seed, 0, frames=1).steps) == 1


def hunt(name: str, configs: st.SearchStrategy[Any], examples: int, folder: Path) -> None:
    """Try configurations, given as text or as mappings: FEW are the same ones each time, MANY are others each time."""

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), derandomize=examples == FEW)
    @given(config=configs)
    def taken(config: Any) -> None:
        text = config if isinstance(config, str) else yaml.safe_dump(config, allow_unicode=True)
        _one_step(text, folder / f"{name}.yaml")

    taken()


hunted = pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])


@hunted
def test_mutated_configs_take_a_step_or_are_refused(examples: int, tmp_path: Path) -> None:
    hunt("mutated", mutated(), examples, tmp_path)


# Plausible values: most of these configs can be built, so they test decisions.
SIGNALS = [
    *["time", "qpos", "qvel", "act", "ctrl", "joint_position/slider", "joint_velocity/hinge_1", "body_position/cart"],
    *["body_quaternion/cart", "actuator_force/slide", "actuator_power/slide", "contact_force/cart", "raw/xpos"],
    *["post_constraint/cfrc_ext", "geom_distance/cart/pole_1", "geom_distance/floor/rail1", "center_of_mass/world"],
]
PLANNERS = ["random_shooting", "predictive_sampling", "cem", "icem", "mppi"]
residual = st.fixed_dictionaries(
    {"signal": st.sampled_from(SIGNALS)},
    optional={
        "reference": st.sampled_from(SIGNALS),
        "component": st.integers(0, 3),
        "target": st.one_of(st.floats(-1, 1), st.lists(st.floats(-1, 1), max_size=3)),
        "weight": st.sampled_from([0.0, -1.0, 1e300]),
        "norm": st.sampled_from(["quadratic", "l2", "smooth_abs", "cosh"]),
        "width": st.sampled_from([1e-300, 1.0, 1e300]),
    },
)
zone = st.sampled_from(
    [
        {"shape": "sphere", "center": [5.0, 0.0, 0.0], "radius": 1e-300},
        {"shape": "box", "center": [0.0, 0.0, 0.0], "half_sizes": [9.0, 9.0, 1e300], "yaw": 1.0},
    ]
)
granularity = st.sampled_from(["step", "substep"])
rule = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["keep_in", "keep_out"]), "point": st.sampled_from(SIGNALS), "zone": zone},
        optional={"granularity": granularity},
    ),
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["joint_position", "joint_velocity"]),
            "joint": st.sampled_from(["slider", "hinge_1"]),
            "upper": st.sampled_from([-1e300, 0.5, 1e300]),
        },
        optional={"granularity": granularity, "unit": st.sampled_from(["m", "rad", "m/s", "rad/s"])},
    ),
)
plausible = st.fixed_dictionaries(
    {"task": st.just(BASE["task"]), "threads": st.just(1)},
    optional={
        "cost": st.fixed_dictionaries(
            {"residuals": st.lists(residual, max_size=2)},
            optional={"task": st.sampled_from([0.0, -1.0, 1e300]), "effort": st.sampled_from([1e300])},
        ),
        "guardrails": st.lists(rule, max_size=2).map(
            lambda rules: [one | {"name": f"r{i}"} for i, one in enumerate(rules)],
        ),
        "planner": st.fixed_dictionaries(
            {"kind": st.sampled_from(PLANNERS), "budget": st.sampled_from([{"evaluations": 1}, {"seconds": 1e-9}])},
            optional={
                "horizon": st.sampled_from([1, 6]),
                "params": st.fixed_dictionaries(
                    {}, optional={"knots": st.sampled_from([1, 6, 10**9]), "iterations": st.sampled_from([1, 10**9])}
                ),
            },
        ),
        "world_model": st.fixed_dictionaries(
            {},
            optional={
                "timestep": st.sampled_from([1e-3, 1e-2, 1e-9]),
                "integrator": st.sampled_from(["Euler", "RK4", "implicit", "implicitfast"]),
                "solver": st.sampled_from(["PGS", "CG", "Newton"]),
                "iterations": st.sampled_from([1, 10**9, 10**12]),
                "noslip_iterations": st.sampled_from([0, 10**9, -1]),
                "kind": st.sampled_from(["simulator", "dreamer"]),
                "params": st.just({"depth": 3}),
            },
        ),
        "perception": st.sampled_from(
            [{"kind": "estimated"}, {"kind": "stacked"}, {"kind": "estimated", "process_noise": 1e300}],
        ),
        "variant": st.fixed_dictionaries(
            {},
            optional={
                "mass": st.sampled_from([1e-300, 1e300]),
                "gain": st.sampled_from([1e-300, 1e300]),
                "damping": st.sampled_from([1e300]),
                "latency": st.sampled_from([1, 50]),
                "observation_noise": st.sampled_from([1.0, 1e300]),
            },
        ),
        "back_up": st.fixed_dictionaries(
            {"seconds": st.sampled_from([1e-300, 1.0]), "rest_speed": st.just(0.1), "gain": st.just(1e300)},
            optional={"joints": st.lists(st.sampled_from(["slider", "hinge_1"]), max_size=2)},
        ),
    },
)


@hunted
def test_plausible_configs_take_a_step_or_are_refused(examples: int, tmp_path: Path) -> None:
    hunt("plausible", plausible, examples, tmp_path)


# Text with a special meaning in YAML, or with none.
TOKENS = [
    *["010", "1:30", "0x1f", "1_0", "1e999", ".nan", "-.inf", "1" * 5000, "2026-01-01", "yes", "~", "=", "null"],
    *[
        "&a ",
        "*a",
        "<<: ",
        "<<: {guardrails: []}",
        "!!bool ",
        "!!int ",
        "!!binary ",
        "!!set ",
        "!!python/name:os ",
        "!x ",
    ],
    *[
        "{",
        "}",
        "[",
        "]",
        "- ",
        ": ",
        "? ",
        "| ",
        "> ",
        "'",
        '"',
        "#",
        "%",
        "@",
        "`",
        ",",
        "---",
        "...",
        "\n",
        "\t",
        " ",
    ],
    *["\0", "\x07", "\x85", "\u2028", "\ufeff", "\ud800", r'"\ud800"', r'"\0"', "∞", "{a: " * 300, "[" * 2000],
]


@st.composite
def garbled(draw: st.DrawFn) -> str:
    """The text of the base config with one to four edits anywhere in it."""
    text = yaml.safe_dump(BASE, default_flow_style=draw(st.sampled_from([None, False, True])))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 3, 30, 300])))
        lines = text.splitlines(keepends=True)
        more = draw(st.sampled_from([*TOKENS, "", lines[start % max(1, len(lines))] if lines else ""]))
        text = text[:start] + more + text[end:]
    return text


@hunted
def test_garbled_text_takes_a_step_or_is_refused(examples: int, tmp_path: Path) -> None:
    hunt("garbled", garbled(), examples, tmp_path)


@settings(max_examples=60, derandomize=True)
@given(data=st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)))
def test_any_bytes_are_refused(data: bytes, tmp_path_factory: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes.yaml"
    file.write_bytes(data)
    try:
        load(str(file))
    except TelosError:
        return
    raise AssertionError("random bytes are no config")
