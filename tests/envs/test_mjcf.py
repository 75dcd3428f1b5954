"""A user's own MJCF model as a task through one YAML file: the same conformance, and helpful errors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
import yaml
from gymnasium.utils.env_checker import check_env

from envs import registry
from envs.backup import BackUp
from envs.environment import Environment
from envs.errors import TelosError
from envs.mjcf import file as mjcf_file
from envs.mjcf import task as mjcf
from envs.physics.batch import INTEGRATION, BatchPhysics
from envs.trajectory import Trajectory, no_doubt

DATA = Path(__file__).parent / "data"
ARM = DATA / "arm.yaml"


@pytest.fixture
def env():
    environment = registry.make(str(ARM))
    yield environment
    environment.close()


@pytest.fixture
def write(tmp_path: Path):
    """Writes a variation of the arm's YAML file (None removes a key) and returns its path."""

    def _write(**changes: Any) -> Path:
        content = yaml.safe_load(ARM.read_text())
        content["model"] = str(DATA / "arm.xml")
        for key, value in changes.items():
            content.pop(key, None)
            if value is not None:
                content[key] = value
        path = tmp_path / "task.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return _write


def _imagine(env: Environment, start: np.ndarray, actions: np.ndarray) -> Trajectory:
    physics = BatchPhysics(env.task.spec, env.task.requests, env.interface.control_period)
    recording = physics.rollout(start, env.interface.native(actions), states=True)
    tensor = torch.from_numpy(actions)
    signals, valid, period = recording.signals, recording.valid, env.interface.control_period
    return Trajectory(recording.states, tensor, signals, valid, no_doubt(tensor), period)


# --- conformance -------------------------------------------------------------------------------------


def test_it_is_a_gymnasium_environment():
    check_env(registry.make(str(ARM)), skip_render_check=True)


def test_imagination_agrees_with_reality(env: Environment):
    rng = np.random.default_rng(0)
    endings = 0
    for episode in range(10):
        env.reset(seed=episode)
        start = env.snapshot()
        low = 0.9 if episode % 2 else -1.0  # held at the limit, the arm spins until the episode ends
        actions = rng.uniform(low, 1, (1, 100, env.interface.action_size))
        trajectory = _imagine(env, start.state, actions)
        reward = env.task.reward(trajectory, start.params)
        assert env.task.termination is not None
        ended = env.task.termination(trajectory, start.params)
        assert reward.shape == ended.shape == (1, 100)
        for step, action in enumerate(actions[0]):
            _, real, terminated, _, _ = env.step(action)
            np.testing.assert_array_equal(trajectory.states[0, step + 1], env.snapshot().state)
            assert abs(float(reward[0, step]) - real) < 1e-9
            assert bool(ended[0, step]) == terminated
            endings += terminated
            if terminated:
                break
    assert endings > 0


def test_same_seed_same_episode(env: Environment):
    def live() -> bytes:
        rng = np.random.default_rng(3)
        seen = [env.reset(seed=5)[0]]
        for _ in range(50):
            observation, reward, *_ = env.step(rng.uniform(-1, 1, 2))
            seen += [observation, np.array([reward])]
        return np.concatenate(seen).tobytes()

    assert live() == live()


def test_an_episode_ends_at_its_frame_limit(write):
    environment = registry.make(str(write(frames=3, termination=None)))
    environment.reset(seed=0)
    assert [environment.step(np.zeros(2))[3] for _ in range(3)] == [False, False, True]


def test_reset_draws_inside_the_ranges(env: Environment):
    poses = np.array([env.reset(seed=seed)[0][:4] for seed in range(100)])
    low, high = poses.min(0), poses.max(0)
    np.testing.assert_array_less([0.5, -0.5, -0.1], low[:3])
    np.testing.assert_array_less(high[:3], [2.0, 0.5, 0.1])
    assert (high[:3] - low[:3] > [1.2, 0.8, 0.15]).all()
    assert low[3] == high[3] == 0.0  # the keyframe's


# --- the reward --------------------------------------------------------------------------------------


def _box(point: np.ndarray) -> float:
    """Distance to the pillar of arm.yaml from outside."""
    c, s = np.cos(0.5), np.sin(0.5)
    local = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ (point - [0.2, 0.1, 0.8])
    beyond = np.abs(local) - [0.05, 0.1, 0.2]
    assert beyond.max() > 0
    return float(np.linalg.norm(np.maximum(beyond, 0)))


def test_reward_is_what_a_hand_computes(env: Environment):
    env.reset(seed=1)
    action = np.array([0.3, -0.5])
    start = env.snapshot().state
    _, reward, *_ = env.step(action)

    model = mujoco.MjModel.from_xml_path(str(DATA / "arm.xml"))
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, start, INTEGRATION)
    data.ctrl[:] = control = np.array([0.3 * 12, -0.5 * 5 - 1])  # actions -1 and 1 reach the limits
    mujoco.mj_step(model, data, 3)
    speed = data.qvel[0]
    mujoco.mj_step(model, data)
    power = control[0] * speed  # of the last substep
    mujoco.mj_forward(model, data)
    tip, target = data.site("tip").xpos, data.site("target").xpos
    assert data.ncon == 0
    expected = (
        1.0
        - 2.0 * (np.sqrt(((tip - target) ** 2).sum() + 0.05**2) - 0.05)
        - 0.001 * 0.5 * (control**2).sum()
        - 0.01 * (np.sqrt(data.qvel[1] ** 2 + 0.2**2) - 0.2)
        - 0.5 * min(max(0.1 - tip[2], 0.0) / 0.2, 1.0)
        - 0.0001 * 0.5 * power**2
        - 0.2 * min(max(0.1 - _box(tip), 0.0) / 0.3, 1.0)
        - 0.1 * 0.5 * (np.linalg.norm(tip - target) - model.site("target").size[0]) ** 2
    )
    assert reward == pytest.approx(expected, abs=1e-12)


def test_without_terms_every_step_pays_alive(write):
    environment = registry.make(str(write(reward=None, alive=0.25, termination=None)))
    environment.reset(seed=0)
    assert environment.step(np.zeros(2))[1] == 0.25


def test_a_control_period_may_be_given_in_substeps(write):
    task = registry.load(str(write(control_period=None, substeps=7)))
    assert task.interface().control_period == pytest.approx(7 * 0.005)


def test_guardrails_are_passed_through():
    written = yaml.safe_load(ARM.read_text())["guardrails"]
    assert mjcf.parse(ARM).guardrails == tuple(written)


def test_guardrails_of_the_example_can_be_built():
    from envs.guardrails import registry as guardrails

    assert len(guardrails.build(mjcf.parse(ARM).guardrails)) == 1


# --- errors ------------------------------------------------------------------------------------------

TIP = "site_position/tip"


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        ({"model": None}, "model", "given nothing"),
        ({"modell": "x"}, "modell", "mean model?"),
        ({"frames": 0}, "frames", "greater than or equal to 1"),
        ({"frames": "many"}, "frames", "given many"),
        ({"alive": float("nan")}, "alive", "finite"),
        ({"control_period": float("inf")}, "control_period", "finite"),
        ({"control_period": 0.012}, "control_period", "multiple of the models timestep"),
        ({"control_period": None}, "", "one of control_period and substeps"),
        ({"substeps": 4}, "", "one of control_period and substeps"),
        ({"observation": []}, "observation", "at least 1"),
        ({"observation": ["qpos", "qval"]}, "observation[1]", "mean qvel?"),
        ({"observation": ["contact_force/lower"]}, "observation[0]", "a force belongs to a step"),
        ({"reward": [{"signal": "qpos"}, {"signal": "site_position/tipp"}]}, "reward[1].signal", "mean tip?"),
        ({"reward": [{"signal": "site_positon/tip"}]}, "reward[0].signal", "mean site_position?"),
        ({"reward": [{"signal": "site_position"}]}, "reward[0].signal", "site_position/SITE"),
        ({"reward": [{"signal": "raw/xpos"}]}, "reward[0].signal", "allowed: time, qpos"),
        ({"reward": [{"signal": TIP, "weigth": 1}]}, "reward[0].weigth", "mean weight?"),
        ({"reward": [{"signal": TIP, "weight": float("nan")}]}, "reward[0].weight", "finite"),
        ({"reward": [{"signal": TIP, "norm": "l3"}]}, "reward[0].norm", "smooth_abs"),
        ({"reward": [{"signal": TIP, "component": 3}]}, "reward[0].component", "0 to 2"),
        ({"reward": [{"signal": TIP, "target": [0.0, 1.0]}]}, "reward[0].target", "one, or 3"),
        ({"reward": [{"signal": TIP, "reference": "qpos"}]}, "reward[0].reference", "3 or 1"),
        ({"reward": [{"signal": TIP, "norm": "tolerance", "lower": 2, "upper": 1}]}, "reward[0]", "above"),
        ({"reset": {"keyframe": "hangin"}}, "reset.keyframe", "mean hanging?"),
        ({"reset": {"joints": {"elbo": {"qpos": [0, 1]}}}}, "reset.joints", "mean elbow?"),
        ({"reset": {"joints": {"elbow": {"qpos": [1, 0]}}}}, "reset.joints.elbow", "above"),
        ({"reset": {"joints": {"elbow": {"q": [0, 1]}}}}, "reset.joints.elbow.q", "qpos, qvel"),
        ({"termination": [{"signal": TIP}]}, "termination[0]", "lower, upper, or both"),
        ({"termination": [{"signal": TIP, "lower": 1, "upper": 0}]}, "termination[0]", "above"),
        ({"termination": [{"signal": "joint_velocity/knee", "upper": 1}]}, "termination[0].signal", "elbow"),
        ({"guardrails": ["keep_out"]}, "guardrails[0]", "dictionary"),
        ({"model": "arm.xlm"}, "model", "does not exist"),
        ({"model": str(DATA)}, "model", "a directory"),
        ({"model": "/dev/zero"}, "model", "not a regular file"),
        ({"model": str(ARM)}, "model", "not XML"),
    ],
)
def test_errors_name_file_and_key(write, changes: dict[str, Any], where: str, message: str):
    path = write(**changes)
    with pytest.raises(TelosError) as caught:
        registry.load(str(path))
    assert caught.value.where == (f"{path}: {where}" if where else str(path))
    assert message in str(caught.value).replace("'", "")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"\x7fELF\xff\xfe", "a binary file"),
        (b"model: \x00", "a binary file"),
        (b"[1, 2]", "a list"),
        (b"a: [", "YAML"),
        (b"{[1]: 2}", "YAML"),
        (b"model: a.xml\nframes: 1\nframes: 2\n", "key 'frames' a second time, in line 3"),
        (b"guardrails: !!python/object/apply:os.system ['true']", "YAML"),
    ],
)
def test_files_that_are_no_task(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "task.yml"
    path.write_bytes(content)
    with pytest.raises(TelosError, match=r"task\.yml") as caught:
        registry.load(str(path))
    assert message in str(caught.value)


def test_a_missing_file_names_its_neighbour(tmp_path: Path):
    (tmp_path / "arm.yaml").write_text("model: arm.xml")
    with pytest.raises(TelosError, match=r"does not exist.*mean .?arm.yaml"):
        registry.load(str(tmp_path / "armm.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(TelosError, match="a directory"):
        registry.load(str(tmp_path / "folder.yaml"))


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("", "an empty file"),
        ("<mujoco><worldbody>", "not XML"),
        ("<mujoco><worldbody><body><joint/></body></worldbody></mujoco>", "a model that MuJoCo compiles"),
        ("<robots/>", "a model that MuJoCo compiles"),
        ("<mujoco/>", "no actuators"),
        (
            '<mujoco><worldbody><body><joint name="j"/><geom size=".1"/></body></worldbody>'
            '<actuator><motor name="m" joint="j"/></actuator></mujoco>',
            "actuator 'm': given no ctrlrange",
        ),
    ],
)
def test_models_that_do_not_work(tmp_path: Path, xml: str, message: str):
    (tmp_path / "model.xml").write_text(xml)
    (tmp_path / "task.yaml").write_text("model: model.xml\nsubsteps: 1\n")
    with pytest.raises(TelosError, match=r"task\.yaml: model") as caught:
        registry.load(str(tmp_path / "task.yaml"))
    assert message in str(caught.value)


def test_a_safe_stop_is_declared_with_the_task(write):
    path = write(back_up={"seconds": 1, "rest_speed": 0.1, "gain": 2.0, "joints": ["shoulder"]})
    assert registry.load(str(path)).back_up == BackUp(1.0, 0.1, 2.0, ("shoulder",))
    assert registry.load(str(ARM)).back_up is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": ["sholder"]}, r"back_up\.joints: given 'sholder'.*did you mean 'shoulder'"),
        ({"seconds": 0}, r"back_up\.seconds: given 0.*greater than 0"),
        ({"gain": float("nan")}, r"back_up\.gain: given nan.*finite"),
        ({"speed": 1}, r"back_up\.speed: given 1.*rest_speed"),
    ],
)
def test_an_impossible_safe_stop_is_refused(write, change: dict[str, Any], message: str):
    stop = {"seconds": 1.0, "rest_speed": 0.1, "gain": 2.0, **change}
    with pytest.raises(TelosError, match=message):
        registry.load(str(write(back_up=stop)))


def test_merge_keys_are_no_repetition(tmp_path: Path):
    file = tmp_path / "merged.yaml"
    file.write_text("a: &a {x: 1}\nb: {c: &c {<<: *a, x: 2}}\nd: {<<: *c}\n")
    assert mjcf_file.read_yaml(file) == {"a": {"x": 1}, "b": {"c": {"x": 2}}, "d": {"x": 2}}
