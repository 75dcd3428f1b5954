"""The random values of a task file's reset: joints of every type, mocap bodies, and poses of sites and bodies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
import yaml

from agent import build
from agent.config.load import load
from agent.rollouts import episode
from envs import registry
from envs.environment import Environment
from envs.errors import TelosError
from envs.guard.monitor import Monitor
from envs.guardrails import build as rules_of
from envs.physics.batch import BatchPhysics
from envs.trajectory import Trajectory, no_doubt

MODEL = """
<mujoco>
  <compiler angle="radian"/>
  <option timestep="0.01"/>
  <worldbody>
    <geom name="floor" type="plane" size="2 2 .1"/>
    <site name="target"/>
    <body name="post" pos="0.5 0 0.1">
      <geom name="post" type="box" size=".05 .05 .1"/>
      <site name="around" type="box" size=".1 .2 .3"/>
    </body>
    <body name="hand" mocap="true" pos="0 0 1"><geom size=".02" contype="0" conaffinity="0"/></body>
    <body name="cube" pos="1 1 .05"><freejoint name="cube"/><geom type="box" size=".05 .05 .05" mass="1"/></body>
    <body name="pendulum" pos="-1 0 1">
      <joint name="swing" type="ball" damping=".1"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.3" size=".02" mass="1"/>
    </body>
    <body name="rail" pos="0 0 .05">
      <body name="mass">
        <joint name="x" type="slide" axis="1 0 0" damping=".5"/>
        <joint name="y" type="slide" axis="0 1 0" damping=".5"/>
        <geom name="mass" size=".05" mass="1"/>
        <site name="mass"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="x" ctrlrange="-5 5"/>
    <motor joint="y" ctrlrange="-5 5"/>
  </actuator>
  <keyframe>
    <key name="aside" mpos="0 0 .9" qpos="1 1 .05 1 0 0 0  1 0 0 0  .1 .2"/>
    <key mpos="0 0 .9" qpos="1 1 .05 1 0 0 0  1 0 0 0  .3 .4"/>
  </keyframe>
</mujoco>
"""
UP = [[-0.5, 0.5], [-0.4, 0.4], [0.05, 0.05]]
RESET: dict[str, Any] = {
    "joints": {
        "x": {"qpos": [-0.1, 0.1], "qvel": [-1, 1]},
        "cube": {"pos": [[1, 2], [1, 2], [0.5, 0.6]], "quat": "uniform", "vel": [[-1, 1]] * 3, "angvel": [[2, 3]] * 3},
        "swing": {"yaw": [-1, 1], "angvel": [[0, 0], [-1, 1], [0, 0]]},
    },
    "sites": {"target": {"pos": UP, "yaw": [-1, 1]}},
    "bodies": {"post": {"pos": [[0.2, 0.4], [-0.1, 0.1], [0.1, 0.1]], "yaw": [-1.5, 1.5]}},
    "mocap": {"hand": {"pos": [[0, 0.1], [0.2, 0.2], [0.5, 1]], "yaw": [1, 1]}},
}
TASK: dict[str, Any] = {
    "model": "model.xml",
    "control_period": 0.02,
    "frames": 50,
    "observation": ["qpos", "site_position/target", "body_position/hand", "zone_distance/around/site_position/mass"],
    "alive": 1.0,
    "reward": [
        {"signal": "site_position/mass", "reference": "site_position/target", "norm": "l2"},
        {"signal": "zone_distance/around/site_position/mass", "norm": "quadratic", "weight": 0.5},
        {"signal": "geom_distance/mass/post", "norm": "quadratic", "weight": 0.1},
        {"signal": "contact_force/mass", "norm": "quadratic", "weight": 1e-4},
        {"signal": "body_position/hand", "reference": "body_position/cube", "norm": "l2", "weight": 0.01},
        {"signal": "body_position/cube", "norm": "l2", "weight": 0.01},
    ],
    "reset": RESET,
    "guardrails": [{"kind": "joint_velocity", "name": "calm", "joint": "x", "limit": 50, "unit": "m/s"}],
}


class Files:
    """Task files over the model of this test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "model.xml").write_text(MODEL)

    def task(self, **changes: Any) -> str:
        path = self.folder / "task.yaml"
        path.write_text(yaml.safe_dump({**TASK, **changes}))
        return str(path)

    def make(self, **changes: Any) -> Environment:
        return registry.make(self.task(**changes))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def _imagined(physics: BatchPhysics, env: Environment, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Imagined rewards (H,) and states (H,S) of actions (H,A) from the environment's state."""
    start = env.snapshot()
    physics.set_params(start.params)
    recording = physics.rollout(start.state, env.interface.native(actions[None]), states=True)
    tensor, period = torch.from_numpy(actions[None]), env.interface.control_period
    trajectory = Trajectory(recording.states, tensor, recording.signals, recording.valid, no_doubt(tensor), period)
    return env.task.reward(trajectory, start.params)[0].numpy(), recording.states[0, 1:].numpy()


# --- imagination and reality --------------------------------------------------------------------------------


def test_imagined_rewards_are_the_environments_wherever_goal_and_obstacle_are(files: Files) -> None:
    env = files.make()
    physics = BatchPhysics(env.task.spec, env.task.requests, env.interface.control_period, threads=1)
    rng = np.random.default_rng(0)
    touched, first = 0, set()
    for seed in range(8):
        env.reset(seed=seed)
        actions = np.tile(rng.uniform([0.5, -0.3], [1.0, 0.3]), (25, 1))  # into the post, if it is in the way
        rewards, states = _imagined(physics, env, actions)
        for step, action in enumerate(actions):
            _, reward, *_ = env.step(action)
            np.testing.assert_array_equal(env.snapshot().state, states[step])
            assert reward == pytest.approx(rewards[step], abs=1e-9)
            geoms = {env.model.geom(i).name for pair in env.backend.data.contact.geom for i in pair}
            touched += {"mass", "post"} <= geoms
        first.add(round(float(rewards[0]), 6))
    assert len(first) == 8, "every episode has a goal of its own"
    assert touched, "no post was in the way: contacts were not tested"


def test_the_monitor_verifies_the_steps_of_every_episode(files: Files) -> None:
    env = files.make()
    away = {"kind": "keep_out", "name": "away", "point": "site_position/mass", "clearance": 0.0, "scale": 1.0}
    zone = {"shape": "sphere", "center": [9.0, 0.0, 0.0], "radius": 1.0}
    monitor = Monitor(env.task, env.interface, rules_of([{**away, "zone": zone}]))
    for seed in range(3):
        env.reset(seed=seed)
        assert monitor.judge_reset(env.snapshot())
        for _ in range(20):
            before = env.snapshot()
            env.step(np.array([1.0, 0.1]))
            assert monitor.judge(before, env.control(), env.snapshot()).verified


def test_an_agent_plans_for_the_goal_of_its_episode(files: Files) -> None:
    small = {"planner.horizon": 10, "planner.budget.evaluations": 48, "planner.params": {}, "threads": 1}
    reward = [{"signal": "site_position/mass", "reference": "site_position/target", "norm": "l2"}]
    sides = {"sites": {"target": {"pos": [[-1, 1], [0, 0], [0.05, 0.05]]}}}
    config = load(task=files.task(reset=sides, reward=reward), overrides=small)
    agent, env = build.agent(config), build.environment(config)
    world = build.world(config, env)
    goals = []
    for index in range(3):
        result = episode.run(agent, world, 0, index, frames=8)
        goals.append(float(env.backend.data.site("target").xpos[0]))
        moved = float(env.backend.data.site("mass").xpos[0])
        assert np.sign(moved) == np.sign(goals[-1])
        assert not any(step.violated for step in result.steps)
    assert min(goals) < 0 < max(goals)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_carries_what_the_reset_drew(files: Files, copied: Callable[[Environment], Environment]) -> None:
    env = files.make()
    env.reset(seed=4)
    twin = copied(env)
    assert twin.snapshot().params.same_model(env.snapshot().params)
    for _ in range(5):
        one, other = env.step(np.ones(2)), twin.step(np.ones(2))
        assert one[1] == other[1]
        np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(twin.reset()[0], env.reset()[0])


# --- what is drawn ------------------------------------------------------------------------------------------


def test_everything_is_drawn_inside_its_ranges(files: Files) -> None:
    env = files.make()
    data = env.backend.data
    seen: dict[str, list[np.ndarray]] = {}
    for seed in range(60):
        env.reset(seed=seed)
        for name, value in {
            "target": data.site("target").xpos,
            "post": data.body("post").xpos,
            "hand": data.body("hand").xpos,
            "cube": data.joint("cube").qpos[:3],
            "vel": data.joint("cube").qvel[:3],
            "angvel": data.joint("cube").qvel[3:],
            "swing": data.joint("swing").qvel,
            "around": data.site("around").xpos - data.body("post").xpos,
        }.items():
            seen.setdefault(name, []).append(value.copy())
        np.testing.assert_allclose(data.body("hand").xquat, [np.cos(0.5), 0, 0, np.sin(0.5)])
        assert np.linalg.norm(data.joint("cube").qpos[3:]) == pytest.approx(1)
        w, _, _, z = data.body("post").xquat
        assert abs(2 * np.arctan2(z, w)) <= 1.5
    ranges = {
        "target": UP,
        "post": RESET["bodies"]["post"]["pos"],
        "hand": RESET["mocap"]["hand"]["pos"],
        "cube": RESET["joints"]["cube"]["pos"],
        "vel": [[-1, 1]] * 3,
        "angvel": [[2, 3]] * 3,
        "swing": [[0, 0], [-1, 1], [0, 0]],
        "around": [[0, 0]] * 3,
    }
    for name, values in seen.items():
        low, high = np.transpose(ranges[name])
        assert (np.min(values, 0) >= low - 1e-12).all()
        assert (np.max(values, 0) <= high + 1e-12).all()
        np.testing.assert_allclose(np.ptp(values, 0) >= 0.8 * (high - low), True, err_msg=name)


def test_a_uniform_orientation_points_everywhere(files: Files) -> None:
    env = files.make()
    ups = []
    for seed in range(200):
        env.reset(seed=seed)
        ups.append(env.backend.data.body("cube").xmat[6:].copy())
    assert np.linalg.norm(np.mean(ups, 0)) < 0.2
    assert np.linalg.eigvalsh(np.cov(np.transpose(ups))).min() > 0.2, "a third along each axis"


def test_a_reset_starts_from_the_model_not_from_the_last_episode(files: Files) -> None:
    """Naive: turn the current pose. Turns of several episodes would add up."""
    env = files.make(reset={"bodies": {"post": {"yaw": [0.5, 0.5]}}, "sites": {"target": {"yaw": [0.5, 0.5]}}})
    for _ in range(3):
        env.reset(seed=0)
        for quat in (env.model.body("post").quat, env.model.site("target").quat):
            np.testing.assert_allclose(quat, [np.cos(0.25), 0, 0, np.sin(0.25)])


def test_a_seed_decides_what_is_drawn(files: Files) -> None:
    one, other = files.make(), files.make()
    other.reset(seed=9)
    for seed in (1, 2):
        first, second = one.reset(seed=seed)[0], other.reset(seed=seed)[0]
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(one.reset(seed=1)[0], one.reset(seed=2)[0])


@pytest.mark.parametrize(("keyframe", "x"), [("aside", 0.1), (0, 0.1), (1, 0.3)])
def test_a_keyframe_is_named_or_numbered(files: Files, keyframe: str | int, x: float) -> None:
    env = files.make(reset={"keyframe": keyframe})
    env.reset(seed=0)
    assert env.backend.data.joint("x").qpos[0] == x
    assert env.task.params == ()


def test_a_body_with_joints_is_moved_with_all_that_hangs_on_it(files: Files) -> None:
    env = files.make(reset={"bodies": {"rail": {"pos": [[-0.5, -0.5], [0.3, 0.3], [0.1, 0.1]], "yaw": [1.2, 1.2]}}})
    env.reset(seed=0)
    env.step(np.array([1.0, 0.0]))
    mujoco.mj_kinematics(env.model, env.backend.data)
    moved = env.backend.data.body("mass").xpos - [-0.5, 0.3, 0.1]
    assert np.arctan2(moved[1], moved[0]) == pytest.approx(1.2), "the slide's axis turns too"


# --- errors -------------------------------------------------------------------------------------------------

POS = [[0, 1], [0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("reset", "where", "message"),
    [
        ({"sites": {"targt": {"pos": POS}}}, "reset.sites", "mean target?"),
        ({"sites": {"": {"pos": POS}}}, "reset.sites", "given ; allowed: around"),
        ({"bodies": {"pos": {"pos": POS}}}, "reset.bodies", "mean post?"),
        ({"bodies": {"world": {"pos": POS}}}, "reset.bodies", "given world"),
        ({"bodies": {"hand": {"pos": POS}}}, "reset.bodies", "allowed: reset.mocap: {hand"),
        ({"bodies": {"cube": {"pos": POS}}}, "reset.bodies", "allowed: reset.joints: {cube"),
        ({"mocap": {"post": {"pos": POS}}}, "reset.mocap", "allowed: hand"),
        ({"joints": {"": {"qpos": [0, 1]}}}, "reset.joints", "allowed: cube, swing, x, y"),
        ({"joints": {"cub": {"pos": POS}}}, "reset.joints", "mean cube?"),
        ({"joints": {"cube": {"qpos": [0, 1]}}}, "reset.joints.cube.qpos", "pos, quat, yaw, vel, angvel"),
        ({"joints": {"swing": {"pos": POS}}}, "reset.joints.swing.pos", "a ball joint; allowed"),
        ({"joints": {"x": {"yaw": [0, 1]}}}, "reset.joints.x.yaw", "a slide joint; allowed"),
        ({"sites": {"target": {"pos": [[0, 1], [1, 0], [0, 1]]}}}, "reset.sites.target", "pos[1]: 1.0 is above 0.0"),
        ({"sites": {"target": {"yaw": [1, 0]}}}, "reset.sites.target", "yaw: 1.0 is above 0.0"),
        ({"joints": {"cube": {"vel": [[0, 1], [0, 1], [0, -1]]}}}, "reset.joints.cube", "vel[2]: 0.0 is above -1.0"),
        ({"sites": {"target": {"pos": [[0, 1], [0, 1]]}}}, "reset.sites.target.pos[2]", ""),
        ({"sites": {"target": {"pos": [0, 1, 2]}}}, "reset.sites.target.pos[0]", "tuple"),
        ({"sites": {"target": {"pos": [[0, float("nan")]] * 3}}}, "reset.sites.target.pos[0][1]", "finite"),
        ({"sites": {"target": {"quat": [0, 0, 0, 0]}}}, "reset.sites.target", "no orientation"),
        ({"bodies": {"post": {"position": POS}}}, "reset.bodies.post.position", "allowed: pos, quat, yaw"),
        ({"bodys": {}}, "reset.bodys", "mean bodies?"),
        ({"keyframe": ""}, "reset.keyframe", "allowed: a keyframes name, or its index from 0 on"),
        ({"keyframe": "asid"}, "reset.keyframe", "mean aside?"),
        ({"keyframe": 2}, "reset.keyframe", "allowed: aside, an index from 0 to 1"),
        ({"keyframe": -1}, "reset.keyframe", "allowed: a keyframes name, or its index from 0 on"),
    ],
)
def test_what_a_model_cannot_do_is_refused(files: Files, reset: dict[str, Any], where: str, message: str) -> None:
    path = files.task(reset=reset)
    with pytest.raises(TelosError) as caught:
        registry.load(path)
    assert caught.value.where == f"{path}: {where}"
    assert message in str(caught.value).replace("'", "")
