"""Conformance of every registered task: imagination must agree with the real environment, bit by bit.

Every task in `envs.registry.TASKS` is tested. No test names a task, except where a published table says which tasks
must exist.
"""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from dm_control import suite
from gymnasium.utils.env_checker import check_env

from envs import registry
from envs.environment import Environment
from envs.physics.batch import INTEGRATION, BatchPhysics, Recording
from envs.physics.compiler import shrink_textures
from envs.task import Snapshot
from envs.trajectory import Trajectory, no_doubt

EPISODE = 100  # control steps, at most
WINDOW = 4  # control steps that are imagined from one snapshot
ANCHORS = Path(__file__).parents[2] / "benchmarks" / "anchors" / "dm_control_returns.csv"


@pytest.fixture(scope="module", params=sorted(registry.table()))
def env(request: pytest.FixtureRequest):
    environment = registry.make(request.param)
    yield environment
    environment.close()


# --- imagination and reality -------------------------------------------------------------------------


@dataclass
class Episode:
    """A record of a real episode."""

    snapshots: list[Snapshot] = field(default_factory=list)  # T+1
    actions: list[np.ndarray] = field(default_factory=list)  # T of (A,), in [-1,1]
    rewards: list[float] = field(default_factory=list)  # T
    terminated: list[bool] = field(default_factory=list)  # T


@dataclass
class Imagination:
    """The task's simulator and reward, used as a planner uses them."""

    env: Environment

    def __post_init__(self) -> None:
        task = self.env.task
        self.physics = BatchPhysics(task.spec, task.requests, self.env.interface.control_period)

    def futures(self, start: np.ndarray, snapshot: Snapshot, actions: np.ndarray) -> tuple[Recording, Trajectory]:
        """Imagine actions (N,H,A) from `start`, (S,) or (N,S), under the params of `snapshot`."""
        self.physics.set_params(snapshot.params)
        recording = self.physics.rollout(start, self.env.interface.native(actions), states=True)
        tensor = torch.from_numpy(actions)
        period = self.env.interface.control_period
        doubt = no_doubt(tensor)
        return recording, Trajectory(recording.states, tensor, recording.signals, recording.valid, doubt, period)

    def returns(self, start: np.ndarray, snapshot: Snapshot, actions: np.ndarray) -> np.ndarray:
        """Sum of rewards of every future, (N,); -inf where it is invalid."""
        recording, trajectory = self.futures(start, snapshot, actions)
        rewards = self.env.task.reward(trajectory, snapshot.params).sum(1)
        return np.where(recording.valid.numpy(), np.nan_to_num(rewards.numpy(), nan=-np.inf), -np.inf)

    def plan(self, snapshot: Snapshot, rng: np.random.Generator) -> np.ndarray:
        """The best of 8 random futures of two held actions, (10,A)."""
        held = rng.uniform(-1, 1, (8, 2, self.env.interface.action_size))
        actions = np.repeat(held, 5, axis=1)
        return actions[np.argmax(self.returns(snapshot.state, snapshot, actions))]

    def rewarding_pose(self, snapshot: Snapshot, rng: np.random.Generator) -> np.ndarray:
        """The most rewarding of 4096 random poses at rest, (S,)."""
        best, best_return = snapshot.state, -np.inf
        for _ in range(16):
            starts = np.tile(snapshot.state, (256, 1))
            starts[:, 1 : 1 + self.env.model.nq] = _poses(self.env.model, snapshot.state, rng, 256)
            actions = np.zeros((256, 2, self.env.interface.action_size))
            returns = self.returns(starts, snapshot, actions)
            if returns.max() > best_return:
                best, best_return = starts[np.argmax(returns)], returns.max()
        return best


def _poses(model: mujoco.MjModel, state: np.ndarray, rng: np.random.Generator, number: int) -> np.ndarray:
    """Random joint positions within the limits, (number,nq); free joints keep their place."""
    poses = np.tile(state[1 : 1 + model.nq], (number, 1))
    for joint in range(model.njnt):
        start = model.jnt_qposadr[joint]
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE:
            low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-np.pi, np.pi)
            poses[:, start] = rng.uniform(low, high, number)
        elif model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
            low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-0.3, 0.6)
            poses[:, start] = rng.uniform(low, high, number)
    return poses


def _live(env: Environment, seed: int, steps: int, planner: Imagination | None, pose: bool) -> Episode:
    """A real episode under random or planned actions, optionally from a rewarding pose."""
    rng = np.random.default_rng([seed, 7])
    env.reset(seed=seed)
    if pose and planner is not None:
        start = planner.rewarding_pose(env.snapshot(), rng)
        mujoco.mj_setState(env.model, env.backend.data, start, INTEGRATION)
        mujoco.mj_forward(env.model, env.backend.data)
    episode = Episode([env.snapshot()])
    plan: list[np.ndarray] = []
    for _ in range(steps):
        if planner is None:
            action = rng.uniform(-1, 1, env.interface.action_size)
        else:
            plan = plan or list(planner.plan(episode.snapshots[-1], rng))
            action = plan.pop(0)
        _, reward, terminated, _, _ = env.step(action)
        episode.snapshots.append(env.snapshot())
        episode.actions.append(action)
        episode.rewards.append(reward)
        episode.terminated.append(terminated)
        if terminated:
            break
    return episode


def _imagined(
    imagination: Imagination, snapshots: list[Snapshot], actions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reward (N,H), termination (N,H) and next states (N,H,S) of actions (N,H,A), one snapshot per row."""
    task = imagination.env.task
    if snapshots[0].params.stale and len(snapshots) > 1:  # every row has its own stale values
        rows = [_imagined(imagination, [snapshot], row[None]) for snapshot, row in zip(snapshots, actions, strict=True)]
        return tuple(np.concatenate(part) for part in zip(*rows, strict=True))  # type: ignore[return-value]
    params = snapshots[0].params
    start = np.array([snapshot.state for snapshot in snapshots])
    recording, trajectory = imagination.futures(start, snapshots[0], actions)
    assert recording.valid.all()
    reward = task.reward(trajectory, params)
    assert reward.shape == actions.shape[:2]
    assert reward.dtype == torch.float64
    terminated = torch.zeros(reward.shape, dtype=torch.bool)
    if task.termination is not None:
        terminated = task.termination(trajectory, params)
        assert terminated.shape == reward.shape
        assert terminated.dtype == torch.bool
    return reward.numpy(), terminated.numpy(), recording.states[:, 1:].numpy()


def _scattered(imagination: Imagination, seed: int, number: int) -> Episode:
    """Single real steps from `number` random poses at rest, on both sides of a reward's thresholds.

    Poses at which the simulation diverges are left out, because dm_control raises there.
    """
    env = imagination.env
    rng = np.random.default_rng([seed, 8])
    env.reset(seed=seed)
    start = env.snapshot().state.copy()
    steps = Episode()
    for pose in _poses(env.model, start, rng, number):
        start[1 : 1 + env.model.nq] = pose
        mujoco.mj_setState(env.model, env.backend.data, start, INTEGRATION)
        mujoco.mj_forward(env.model, env.backend.data)
        snapshot = env.snapshot()
        action = rng.uniform(-1, 1, env.interface.action_size)
        recording, _ = imagination.futures(snapshot.state, snapshot, action[None, None])
        if recording.valid.all():
            _, reward, terminated, _, _ = env.step(action)
            steps.snapshots.append(snapshot)
            steps.snapshots.append(env.snapshot())
            steps.actions.append(action)
            steps.rewards.append(reward)
            steps.terminated.append(terminated)
    return steps


@dataclass
class Agreement:
    """The result of comparing reality and imagination."""

    states: int = 0
    worst: float = 0.0  # largest |imagined reward - real reward|
    lowest: float = np.inf  # real reward
    highest: float = -np.inf
    endings: int = 0  # terminal steps

    def check(
        self,
        imagination: Imagination,
        episode: Episode,
        starts: list[Snapshot],
        ends: list[Snapshot],
        horizon: int,
    ) -> None:
        """Imagine an episode in windows of `horizon` steps, and compare; `starts`, `ends` are per step."""
        whole = len(starts) - len(starts) % horizon
        for first, last, steps in ((0, whole, horizon), (whole, len(starts), len(starts) - whole)):
            if first == last:
                continue
            actions = np.array(episode.actions[first:last]).reshape(-1, steps, imagination.env.interface.action_size)
            shape = actions.shape[:2]
            reward, terminated, states = _imagined(imagination, starts[first:last:steps], actions)
            real = np.array(episode.rewards[first:last]).reshape(shape)
            ended = np.array(episode.terminated[first:last]).reshape(shape)
            reached = np.array([snapshot.state for snapshot in ends[first:last]]).reshape(states.shape)
            np.testing.assert_array_equal(states, reached)
            np.testing.assert_array_equal(terminated, ended)
            np.testing.assert_allclose(reward, real, rtol=0, atol=1e-6)
            self.states += real.size
            self.worst = max(self.worst, float(np.abs(reward - real).max()))
            self.lowest = min(self.lowest, float(real.min()))
            self.highest = max(self.highest, float(real.max()))
            self.endings += int(ended.sum())


def compare(env: Environment, each: int) -> Agreement:
    """Compare on `each` states visited by random actions, on `each` by planned ones, and on random poses."""
    imagination = Imagination(env)
    total = Agreement()
    seed = 0
    for planned in (False, True):
        visited = 0
        while visited < each:
            seed += 1
            pose = planned and visited > 0 and total.highest - total.lowest < 1e-3
            planner = imagination if planned else None
            episode = _live(env, seed, min(EPISODE, each - visited), planner, pose)
            total.check(imagination, episode, episode.snapshots[:-1], episode.snapshots[1:], WINDOW)
            visited += len(episode.actions)
    for _ in range(max(1, each // 250)):
        seed += 1
        steps = _scattered(imagination, seed, 125)
        total.check(imagination, steps, steps.snapshots[::2], steps.snapshots[1::2], 1)
    return total


def _check_agreement(env: Environment, each: int, record_property: Any) -> None:
    total = compare(env, each)
    record_property("worst_error", total.worst)
    assert total.states >= 2 * each
    assert total.highest > total.lowest, "all rewards were equal: nothing was tested"
    if env.task.termination is not None:
        assert total.endings, "no episode ended: termination was not tested"


def test_imagination_agrees_with_the_environment(env: Environment, record_property: Any):
    _check_agreement(env, 250 if env.model.nv < 60 else 32, record_property)  # a dog's steps take 50 times as long


@pytest.mark.slow
def test_imagination_agrees_on_many_states(env: Environment, record_property: Any):
    _check_agreement(env, 2500, record_property)


# --- the model ---------------------------------------------------------------------------------------


def _fields(model: mujoco.MjModel) -> dict[str, Any]:
    """Every field that decides the physics: arrays, sizes, options, statistics."""
    found: dict[str, Any] = {}
    for prefix, part in (("", model), ("opt.", model.opt), ("stat.", model.stat)):
        for name in dir(part):
            value = None if name.startswith("_") else getattr(part, name)
            if isinstance(value, (np.ndarray, int, float)):
                found[prefix + name] = np.asarray(value)
    return found


def _different(one: mujoco.MjModel, other: mujoco.MjModel) -> set[str]:
    ours, theirs = _fields(one), _fields(other)
    assert ours.keys() == theirs.keys()
    return {name for name in ours if not np.array_equal(ours[name], theirs[name])}


def test_the_spec_is_the_model_of_the_environment(env: Environment):
    """The simulated model lacks only the environment's textures."""
    shrunk = env.task.spec()
    shrink_textures(shrunk)
    backend = env.task.backend()
    try:
        assert not _different(env.task.spec().compile(), backend.model)
        different = _different(shrunk.compile(), backend.model)
        assert different <= {"nbuffer", "ntexdata", "npaths"} | {name for name in different if name.startswith("tex_")}
    finally:
        backend.close()


def test_resets_and_steps_write_the_declared_params_alone(env: Environment):
    pristine = env.task.spec().compile()
    written: set[str] = set()
    for seed in range(3):
        env.reset(seed=seed)
        written |= _different(pristine, env.model)
        for _ in range(3):
            env.step(env.action_space.sample())
        written |= _different(pristine, env.model)
        params = env.snapshot().params
        assert set(params.model) == set(env.task.params)
        assert set(params.attributes) == set(env.task.attributes)
    assert written <= set(env.task.params)


def test_a_snapshot_is_a_copy(env: Environment):
    env.reset(seed=0)
    snapshot = env.snapshot()
    state = snapshot.state.copy()
    model = {name: value.copy() for name, value in snapshot.params.model.items()}
    env.step(env.action_space.sample())
    env.reset(seed=1)
    np.testing.assert_array_equal(snapshot.state, state)
    for name, value in model.items():
        np.testing.assert_array_equal(snapshot.params.model[name], value)


# --- the environment ---------------------------------------------------------------------------------


def _flat(observation: Any) -> np.ndarray:
    if isinstance(observation, dict):
        return np.concatenate([_flat(observation[name]) for name in sorted(observation)])
    return np.asarray(observation, dtype=np.float64).ravel()


def _history(env: Environment, seed: int) -> np.ndarray:
    """All observations of an episode under fixed actions."""
    rng = np.random.default_rng(0)
    seen = [_flat(env.reset(seed=seed)[0])]
    for _ in range(25):
        observation, reward, terminated, _, _ = env.step(rng.uniform(-1, 1, env.interface.action_size))
        seen += [_flat(observation), np.array([reward, terminated])]
        if terminated:
            break
    return np.concatenate(seen)


def test_a_seed_decides_the_episode(env: Environment):
    first = _history(env, 3)
    other = registry.make(env.task.id)
    np.testing.assert_array_equal(_history(other, 3), first)
    other.close()
    assert not np.array_equal(_history(env, 4), first)
    np.testing.assert_array_equal(_history(env, 3), first)


def test_gymnasium_accepts_the_environment(env: Environment):
    fresh = registry.make(env.task.id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # Unbounded observations are dm_control's and Gymnasium's own.
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is")
        check_env(fresh, skip_render_check=True)
    fresh.close()


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_native_range_is_reached_at_one(env: Environment, sign: int):
    bound = env.interface.action_high if sign > 0 else env.interface.action_low
    ones = np.full(env.interface.action_size, float(sign))
    np.testing.assert_array_equal(env.interface.native(ones), bound)
    limited = env.model.actuator_ctrllimited.astype(bool)
    limits = env.model.actuator_ctrlrange[:, int(sign > 0)]
    np.testing.assert_array_equal(bound[limited], limits[limited])
    env.reset(seed=0)
    env.step(ones)
    np.testing.assert_array_equal(env.backend.data.ctrl, bound)


def test_an_episode_is_truncated_at_its_last_frame(env: Environment):
    env.reset(seed=0)
    env._frames = env.interface.frame_limit - 2
    zeros = np.zeros(env.interface.action_size)
    assert not env.step(zeros)[3]
    assert env.step(zeros)[3]


# --- which tasks there are ---------------------------------------------------------------------------


def test_every_task_of_the_anchors_is_registered():
    with ANCHORS.open() as file:
        tasks = {f"dm_control/{row['task']}-v0" for row in csv.DictReader(file)}
    assert len(tasks) == 28
    assert tasks <= set(registry.TASKS)


def test_every_benchmarking_task_of_dm_control_is_registered():
    tasks = {f"dm_control/{domain}-{task}-v0" for domain, task in suite.BENCHMARKING}
    assert tasks <= set(registry.TASKS)
    assert sum(name.startswith("dm_control/") for name in registry.TASKS) >= 34, "the anchors' 28 and six more"


def test_every_mujoco_v5_environment_of_gymnasium_is_registered():
    entry = "gymnasium.envs.mujoco."
    found = {
        name
        for name, spec in gymnasium.registry.items()
        if name.endswith("-v5") and str(spec.entry_point).startswith(entry)
    }
    assert len(found) == 11
    assert found <= set(registry.TASKS)


def test_a_task_knows_its_own_id(env: Environment):
    assert env.task.id in registry.table()
