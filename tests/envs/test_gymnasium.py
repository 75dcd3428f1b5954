"""Every task is a Gymnasium environment: its id, its spaces, costs and margins in `info`, resets, limits, copies."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

import telos
from envs import registry
from envs.errors import Diverged, GuardrailWeakened, TelosError
from envs.facts import FACTS
from envs.gym.registration import id_of, register
from envs.gym.scored import ScoredEnvironment

ROOT = Path(__file__).parents[2]
ARM = str(ROOT / "docs" / "arm" / "arm.yaml")
CARTPOLE = "telos/dm_control-cartpole-swingup-v0"
RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -0.3, "upper": 0.3, "unit": "m"}
CALM = {"kind": "joint_velocity", "name": "calm", "joint": "slider", "limit": 0.5, "unit": "m/s"}
BALL = {"shape": "sphere", "center": [0.0, 0.0, 1.0], "radius": 1.0}
AWAY = {"kind": "keep_out", "name": "away", "point": "body_position/pole_1", "zone": BALL}
RULES = [{**RAIL, "scale": 0.1}, CALM]
RIGHT = [{**RAIL, "lower": 0.0, "upper": 9.0, "scale": 0.1}]  # resets put the cart within about ±0.1 m

Make = Callable[..., Any]


@pytest.fixture
def make() -> Iterator[Make]:
    """`gymnasium.make`; what it made is closed after the test."""
    made = []

    def one(id: str, **options: Any) -> gymnasium.Env[Any, Any]:
        made.append(gymnasium.make(id, **options))
        return made[-1]

    yield one
    for env in made:
        env.close()


def flat(observation: Any) -> np.ndarray:
    if isinstance(observation, dict):
        return np.concatenate([flat(observation[name]) for name in sorted(observation)])
    return np.asarray(observation, dtype=np.float64).ravel()


def pushed(env: Any, steps: int) -> list[dict[str, Any]]:
    """The infos of steps with full control."""
    return [env.step(np.ones(env.action_space.shape, np.float32))[4] for _ in range(steps)]


# --- ids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", registry.TASKS)
def test_every_task_has_an_id(task: str) -> None:
    spec = gymnasium.spec(id_of(task))
    assert (spec.namespace, spec.max_episode_steps) == ("telos", FACTS[task].frames)
    assert spec.kwargs["task"] == task
    assert gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()) == spec


def test_the_ids_are_those_that_are_documented() -> None:
    assert id_of("dm_control/cartpole-swingup-v0") == CARTPOLE
    assert id_of("Hopper-v5") == "telos/Hopper-v5"
    assert "telos/MJCF-v0" in gymnasium.registry


def test_ids_cost_neither_torch_nor_mujoco() -> None:
    code = """
import sys
import gymnasium
gymnasium.register_envs(__import__("telos"))
print(gymnasium.spec("telos/Hopper-v5").id, sorted({"torch", "mujoco", "dm_control", "ray"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["telos/Hopper-v5", "[]"], done.stderr


def test_an_id_can_name_the_module_that_registers_it() -> None:
    code = """
import gymnasium
env = gymnasium.make("telos:telos/Reacher-v5")
print(env.reset(seed=0)[1]["reset_seed"], env.spec.id)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["0", "telos/Reacher-v5"], done.stderr


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """Installs tasks of another package, and registers the ids again."""
    before = dict(gymnasium.registry)

    def installed(tasks: dict[str, str]) -> None:
        points = tuple(EntryPoint(name, value, "telos.tasks") for name, value in tasks.items())
        monkeypatch.setattr("envs.table.plug_ins", lambda group: points if group == "telos.tasks" else ())
        register()

    yield installed
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def test_tasks_of_other_packages_come_along(install: Callable[..., None], make: Make) -> None:
    install({"their lab/reacher:easy-v3": registry.TASKS["Reacher-v5"]})
    env = make("telos/their-lab-reacher-easy-v3")
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.float32))[3] for _ in range(50)]
    assert ends == [False] * 49 + [True], "its limit, which is not known before it is made"
    assert env.spec.max_episode_steps is None


@pytest.mark.parametrize("name", ["Reacher-v5", "dm_control-cartpole-swingup-v0", "MJCF-v0", "Hopper"])
def test_a_task_of_another_package_breaks_nothing(install: Callable[..., None], name: str) -> None:
    """Its name, or its id, is taken; or Gymnasium refuses an id without a version beside one with a version."""
    before = dict(gymnasium.registry)
    with pytest.warns(UserWarning, match="no Gymnasium id"):
        install({name: "envs.mujoco_v5.reacher:reacher"})
    assert gymnasium.registry == before


def test_registering_again_changes_nothing(recwarn: pytest.WarningsRecorder) -> None:
    before = dict(gymnasium.registry)
    register()
    assert gymnasium.registry == before
    assert not recwarn.list


def test_importing_telos_leaves_its_own_environments_as_they_are() -> None:
    env = telos.environment(telos.load("quickstart"))
    assert not isinstance(env, ScoredEnvironment)
    assert env.action_space.dtype == np.float64
    env.close()


# --- conformance --------------------------------------------------------------------------------------------------


def small(task: str) -> Any:
    """The task, slow where its model is large."""
    return pytest.param(task, marks=pytest.mark.slow if FACTS[task].observation > 70 else ())


@pytest.mark.parametrize("task", [small(task) for task in registry.TASKS])
def test_gymnasium_finds_nothing_wrong(task: str) -> None:
    env = gymnasium.make(id_of(task)).unwrapped
    check_env(env, skip_render_check=True)
    assert env.action_space == spaces.Box(-1.0, 1.0, env.action_space.shape, np.float32)
    env.close()


@pytest.mark.parametrize("options", [{"id": CARTPOLE, "guardrails": RULES}, {"id": "telos/MJCF-v0", "file": ARM}])
def test_gymnasium_finds_nothing_wrong_under_guardrails_and_with_pictures(make: Make, options: dict[str, Any]) -> None:
    check_env(make(**options, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("task", ["dm_control/reacher-easy-v0", "Hopper-v5"])
def test_it_is_the_tasks_own_environment(make: Make, task: str) -> None:
    env, own = make(id_of(task)), registry.make(task)
    env.action_space.seed(1)
    np.testing.assert_array_equal(flat(env.reset(seed=4)[0]), flat(own.reset(seed=4)[0]))
    for _ in range(20):
        action = env.action_space.sample()
        assert action.dtype == np.float32
        mine, theirs = env.step(action), own.step(action)
        np.testing.assert_array_equal(flat(mine[0]), flat(theirs[0]))
        assert mine[1:3] == theirs[1:3]
        assert mine[4] == {"cost": 0.0, "diverged": False}, "without guardrails, nothing costs"
        if mine[2]:
            np.testing.assert_array_equal(flat(env.reset(seed=5)[0]), flat(own.reset(seed=5)[0]))
    own.close()


# --- costs and margins --------------------------------------------------------------------------------------------


def test_the_cost_is_the_number_of_violated_guardrails(make: Make) -> None:
    env = make(CARTPOLE, guardrails=RULES)
    env.reset(seed=0)
    seen = set()
    for _ in range(120):
        observation, _, _, _, info = env.step(np.ones(1, np.float32))
        place, speed = observation["position"][0], observation["velocity"][0]
        assert list(info) == ["cost", "margin/calm", "margin/rail", "diverged"]
        assert all(type(info[name]) is float for name in ("cost", "margin/calm", "margin/rail"))
        assert info["margin/rail"] == pytest.approx(0.3 - abs(place))
        assert info["margin/calm"] == pytest.approx(0.5 - abs(speed))
        assert info["cost"] == (info["margin/rail"] < 0) + (info["margin/calm"] < 0)
        seen.add(info["cost"])
    assert seen == {0.0, 1.0, 2.0}


def test_every_substep_counts_where_a_guardrail_says_so(make: Make) -> None:
    last = {**CALM, "name": "last", "joint": "cup_x"}
    env = make(
        "telos/dm_control-ball_in_cup-catch-v0",
        guardrails=[last, {**last, "name": "each", "granularity": "substep"}],
    )
    env.reset(seed=0)
    infos = pushed(env, 8)
    assert all(info["margin/each"] <= info["margin/last"] for info in infos)
    assert any(info["margin/each"] < info["margin/last"] - 0.1 for info in infos)


def test_the_monitor_has_its_own_rules_and_looks_at_the_real_state(make: Make) -> None:
    env = make(CARTPOLE, guardrails=RULES)
    env.reset(seed=0)
    world = env.unwrapped.world
    world.backend.data.qpos[0] = 0.9  # a state that no action led to
    info = pushed(env, 1)[0]
    assert info["cost"] == 2.0
    assert info["margin/rail"] == -np.inf, "the step could not be verified"


def test_a_world_that_diverges_is_truncated_and_costs_all(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make(CARTPOLE, guardrails=RULES)
    env.reset(seed=0)
    before = env.step(np.zeros(1, np.float32))[0]

    def diverges(_: np.ndarray) -> None:
        raise Diverged("environment", "a diverged simulation (mjWARN_BADQACC)")

    monkeypatch.setattr(env.unwrapped.world.backend, "step", diverges)
    with pytest.warns(UserWarning, match="mjWARN_BADQACC"):
        observation, reward, terminated, truncated, info = env.step(np.zeros(1, np.float32))
    assert (reward, terminated, truncated) == (0.0, False, True), "an end that is no way out of negative rewards"
    assert (info["cost"], info["margin/rail"], info["diverged"]) == (2.0, -np.inf, True)
    np.testing.assert_array_equal(flat(observation), flat(before))
    assert observation["position"] is not before["position"]


# --- resets -------------------------------------------------------------------------------------------------------


def test_starts_that_the_guardrails_forbid_are_rejected_and_counted(make: Make) -> None:
    env, free = make(CARTPOLE, guardrails=RIGHT), make(CARTPOLE)
    rejected = []
    for seed in range(8):
        allowed = free.reset(seed=seed)[0]["position"][0] >= 0
        observation, info = env.reset(seed=seed)
        assert observation["position"][0] >= 0
        assert (info["resets_rejected"] == 0) == allowed
        assert (info["reset_seed"] == seed) == allowed
        assert env.reset(seed=seed)[1] == info, "the same seed leads to the same start"
        again = free.reset(seed=info["reset_seed"])[0]
        np.testing.assert_array_equal(flat(again), flat(observation))
        rejected.append(info["resets_rejected"])
    assert min(rejected) == 0
    assert max(rejected) > 1
    assert len({env.reset()[1]["reset_seed"] for _ in range(5)}) == 5


def test_a_world_without_a_safe_start_says_so(make: Make) -> None:
    env = make(CARTPOLE, guardrails=[{**RIGHT[0], "lower": 5.0}])
    with pytest.raises(TelosError, match="100 resets in a row"):
        env.reset(seed=0)


def test_options_of_a_reset_are_refused(make: Make) -> None:
    env = make(CARTPOLE)
    env.reset(options={})
    with pytest.raises(TelosError, match="reset: options: given start; allowed: none"):
        env.reset(options={"start": "low"})


def test_a_step_before_a_reset_is_refused(make: Make) -> None:
    with pytest.raises(gymnasium.error.ResetNeeded):
        make(CARTPOLE).unwrapped.step(np.zeros(1, np.float32))


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"id": "telos/Reacher-v5"}, 50),
        ({"id": "telos/Reacher-v5", "max_episode_steps": 10}, 10),
        ({"id": "telos/Reacher-v5", "max_episode_steps": 60}, 60),
        ({"id": "telos/Reacher-v5", "max_episode_steps": -1}, None),
        ({"id": "telos/MJCF-v0", "file": ARM, "max_episode_steps": 7}, 7),
        ({"id": "telos/MJCF-v0", "file": ARM}, 200),
    ],
)
def test_an_episode_ends_once_and_in_time(make: Make, options: dict[str, Any], steps: int | None) -> None:
    env = make(**options)
    for seed in range(2):
        env.reset(seed=seed)
        most = (steps or 70) - 1
        assert not any(env.step(env.action_space.sample() * 0)[3] for _ in range(most))
        assert env.step(env.action_space.sample() * 0)[3] == (steps is not None)


# --- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guardrail": RULES}, "gymnasium.make: given 'guardrail'; did you mean 'guardrails'"),
        ({"guardrails": [{**CALM, "kind": "joint_velocty"}]}, r"guardrails\[0\].kind.*did you mean 'joint_velocity'"),
        ({"guardrails": CALM}, "guardrails: given a dict; allowed: a list of guardrails"),
        ({"guardrails": [{**CALM, "joint": "slidr"}]}, "did you mean 'slider'"),
        ({"guardrails": [{**AWAY, "tolerance": 2.0}]}, r"guardrails\[0\].tolerance: given 2.0; allowed: below 1 m"),
        ({"camera": "front"}, "camera: given 'front'"),
        ({"width": 641}, "width: given 641; allowed: an even number of pixels, 16 to 4096"),
        ({"height": "480"}, "height: given '480'"),
        ({"file": ARM}, "allowed: with telos/MJCF-v0 alone"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TelosError, match=message):
        gymnasium.make(CARTPOLE, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "file: given nothing; allowed: a YAML file"),
        ({"file": "docs/arm/arm.xml"}, "file: given 'docs/arm/arm.xml'; allowed: a YAML file"),
        ({"file": str(ROOT / "docs" / "arm" / "amr.yaml")}, "did you mean 'arm.yaml'"),
    ],
)
def test_a_wrong_file_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TelosError, match=message):
        gymnasium.make("telos/MJCF-v0", **options)


def test_an_unknown_render_mode_is_refused() -> None:
    with pytest.warns(UserWarning, match="render_mode"), pytest.raises(TelosError, match="render_mode: given depth"):
        gymnasium.make(CARTPOLE, render_mode="depth")


def test_guardrails_of_a_file_hold_and_can_only_be_strengthened(make: Make) -> None:
    calm = {"kind": "joint_velocity", "name": "calm_shoulder", "joint": "shoulder", "unit": "rad/s"}
    (declared,) = [rule for rule in registry.load(ARM).guardrails() if rule["name"] == "calm_shoulder"]
    env = make("telos/MJCF-v0", file=Path(ARM), guardrails=[{**declared, "limit": declared["limit"] / 2}])
    env.reset(seed=0)
    info = pushed(env, 1)[0]
    assert {name for name in info if name.startswith("margin/")} == {"margin/tip_off_sphere", "margin/calm_shoulder"}
    with pytest.raises(GuardrailWeakened):
        gymnasium.make("telos/MJCF-v0", file=ARM, guardrails=[{**declared, **calm, "limit": 2 * declared["limit"]}])


def test_a_rule_that_the_joints_limits_keep_causes_a_warning(make: Make) -> None:
    with pytest.warns(UserWarning, match="far beyond the range of joint 'slider'"):
        make(CARTPOLE, guardrails=[{**RAIL, "lower": -50.0, "upper": 50.0, "scale": 0.1}])


# --- copies -------------------------------------------------------------------------------------------------------


def pickled(env: Any) -> Any:
    return pickle.loads(pickle.dumps(env))


@pytest.mark.parametrize(
    ("copier", "bare"),
    [(copy.deepcopy, False), (copy.deepcopy, True), (pickled, False), (pickled, True), (copy.copy, True)],
)
@pytest.mark.parametrize(
    "options", [{"id": CARTPOLE, "guardrails": RULES}, {"id": "telos/MJCF-v0", "file": ARM}, {"id": "telos/Hopper-v5"}]
)
def test_a_copy_has_the_same_future(make: Make, options: dict[str, Any], copier: Any, bare: bool) -> None:
    env = make(**options)
    env = env.unwrapped if bare else env
    env.reset(seed=1)
    env.action_space.seed(2)
    pushed(env, 5)
    twin = copier(env)
    assert twin.spec == env.spec
    assert twin.unwrapped.monitor.guardrails == env.unwrapped.monitor.guardrails

    def future(one: Any) -> list[Any]:
        steps = [one.step(one.action_space.sample()) for _ in range(10)]
        observation, info = one.reset()
        return [*((flat(step[0]).tolist(), *step[1:]) for step in steps), flat(observation).tolist(), info]

    assert future(twin) == future(env)
    twin.close()


def test_a_changed_guardrail_is_noticed(make: Make) -> None:
    env = make(CARTPOLE, guardrails=RULES)
    env.reset(seed=0)
    rule = env.unwrapped.monitor.guardrails["rail"]
    object.__setattr__(rule, "tolerance", 1e6)
    with pytest.raises(TelosError, match="digest"):
        env.step(np.zeros(1, np.float32))
