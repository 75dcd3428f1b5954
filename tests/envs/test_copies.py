"""A copied or pickled environment has the same state, the same future, and its own physics."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from envs import registry
from envs.environment import Environment
from envs.errors import TelosError
from envs.physics.variants import Variant

ROOT = Path(__file__).parents[2]
ARM = str(ROOT / "docs" / "arm" / "arm.yaml")
TASKS = (
    "dm_control/ball_in_cup-catch-v0",
    "dm_control/finger-turn_hard-v0",  # targets in the model
    "dm_control/fish-swim-v0",
    "dm_control/manipulator-bring_ball-v0",
    "dm_control/quadruped-run-v0",
    "dm_control/reacher-easy-v0",
    "Ant-v5",
    "HalfCheetah-v5",
    "Humanoid-v5",  # cfrc_ext, and the last step's positions
    "Pusher-v5",  # lagging body positions
    "Reacher-v5",
    ARM,
)
VARIED = Variant(mass=1.1, friction=0.8, gain=1.2, damping=1.3, latency=2, observation_noise=0.1)

Copier = Callable[[Environment], Environment]


def _pickled(env: Environment) -> Environment:
    return pickle.loads(pickle.dumps(env))


COPIERS: dict[str, Copier] = {"deepcopy": copy.deepcopy, "copy": copy.copy, "pickle": _pickled}


def _flat(observation: Any) -> np.ndarray:
    if isinstance(observation, dict):
        return np.concatenate([_flat(observation[name]) for name in sorted(observation)])
    return np.asarray(observation, dtype=np.float64).ravel()


def _walked(env: Environment, steps: int = 4) -> None:
    env.reset(seed=3)
    env.action_space.seed(5)
    for _ in range(steps):
        env.step(env.action_space.sample())


def _future(env: Environment, steps: int = 6) -> list[np.ndarray]:
    """All observations of the next steps, and of the next episode, which starts from the generator's next seed."""
    seen: list[np.ndarray] = []
    for _ in range(2):
        for _ in range(steps):
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            snapshot = env.snapshot()
            seen += [_flat(observation), np.array([reward, terminated, truncated]), snapshot.state]
            for part in (snapshot.params.model, snapshot.params.attributes, snapshot.params.stale):
                seen += [np.asarray(value) for value in part.values()]
            if terminated:
                break
        seen.append(_flat(env.reset()[0]))
    return seen


def _same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture
def closing() -> Iterator[Callable[[Environment], Environment]]:
    open_: list[Environment] = []

    def kept(env: Environment) -> Environment:
        open_.append(env)
        return env

    yield kept
    for env in open_:
        env.close()


@pytest.mark.parametrize("copier", ["deepcopy", "pickle"])
@pytest.mark.parametrize("task", TASKS)
def test_a_copy_has_the_future_of_its_original(task: str, copier: str, closing: Callable[..., Any]) -> None:
    env = closing(registry.make(task, VARIED))
    _walked(env)
    twin = closing(COPIERS[copier](env))
    before = env.snapshot().state
    np.testing.assert_array_equal(twin.snapshot().state, before)
    future = _future(env)
    np.testing.assert_array_equal(twin.snapshot().state, before, "the original's steps move the original alone")
    assert _same(_future(twin), future)


@pytest.mark.parametrize("task", ["dm_control/cartpole-swingup-v0", "Hopper-v5", ARM])
@pytest.mark.parametrize("copier", COPIERS)
def test_a_copy_made_before_the_first_reset_works(task: str, copier: str, closing: Callable[..., Any]) -> None:
    env = closing(registry.make(task, render_mode="rgb_array"))
    twin = closing(COPIERS[copier](env))
    assert (twin.task.id, twin.render_mode, twin.variant) == (task, "rgb_array", Variant())
    _walked(env)
    _walked(twin)
    assert _same(_future(twin), _future(env))


@pytest.mark.parametrize("copier", COPIERS)
def test_a_copy_counts_the_frames_of_its_original(copier: str, closing: Callable[..., Any]) -> None:
    env = closing(registry.make("Hopper-v5"))
    _walked(env)
    env._frames = env.interface.frame_limit - 1
    assert closing(COPIERS[copier](env)).step(np.zeros(3))[3], "truncated"


def test_a_copy_of_a_copy_is_a_twin_too(closing: Callable[..., Any]) -> None:
    env = closing(registry.make("dm_control/reacher-hard-v0", VARIED))
    _walked(env)
    twin = closing(_pickled(closing(copy.deepcopy(closing(_pickled(env))))))
    assert _same(_future(twin), _future(env))


def test_a_wrapped_environment_is_copied_too(closing: Callable[..., Any]) -> None:
    env = closing(registry.make("Hopper-v5"))
    wrapped = gymnasium.wrappers.TimeLimit(env, 20)
    wrapped.reset(seed=0)
    wrapped.step(np.zeros(3))
    twin = copy.deepcopy(wrapped)
    moved = wrapped.step(np.ones(3))
    np.testing.assert_array_equal(twin.step(np.ones(3))[0], moved[0])
    twin.close()


def test_a_pickle_is_read_in_another_process_and_folder(tmp_path: Path) -> None:
    """Naive: keep a relative path to the task file. It is wrong in another folder."""
    shutil.copytree(ROOT / "docs" / "arm", tmp_path / "arm")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        env = registry.make("arm/arm.yaml")
    finally:
        os.chdir(here)
    _walked(env)
    (tmp_path / "env.pickle").write_bytes(pickle.dumps(env))
    program = (
        "import pickle, sys; env = pickle.load(open(sys.argv[1], 'rb')); print(env.step(env.action_space.sample())[1])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "env.pickle")]
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd="/", env=path, capture_output=True, text=True, check=True)
    assert float(done.stdout) == env.step(env.action_space.sample())[1]


def test_a_task_that_its_id_does_not_make_is_copied_but_not_pickled() -> None:
    """Naive: make the task with the same id again. Its reward is different."""
    task = dataclasses.replace(registry.load("dm_control/cartpole-balance-v0"), params=())
    env = Environment(task)
    _walked(env)
    twin = copy.deepcopy(env)
    assert twin.task is task
    assert _same(_future(twin), _future(env))
    with pytest.raises(TelosError, match="pickle of task 'dm_control/cartpole-balance-v0': given a task that cannot"):
        pickle.dumps(env)


@pytest.mark.parametrize("change", ["alive: 2.0", "frames: 7", "model"])
def test_a_pickle_of_a_task_file_that_has_changed_is_refused(change: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs" / "arm", tmp_path, dirs_exist_ok=True)
    file, model = tmp_path / "arm.yaml", tmp_path / "arm.xml"
    env = registry.make(str(file))
    _walked(env)
    pickled = pickle.dumps(env)
    pickle.loads(pickled)
    if change == "model":
        model.write_text(model.read_text().replace("-9.81", "-9.8"))
    else:
        key = change.partition(":")[0]
        lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{key}:")]
        file.write_text("\n".join([*lines, change]))
    with pytest.raises(TelosError, match="copied environment: given"):
        pickle.loads(pickled)


def test_an_environment_whose_model_was_edited_is_refused() -> None:
    env = registry.make("Hopper-v5")
    env.reset(seed=0)
    env.model.opt.gravity[2] = -1.0
    with pytest.raises(TelosError, match="copied environment: given a model of 'Hopper-v5'"):
        copy.deepcopy(env)


@pytest.mark.parametrize("task", ["dm_control/cartpole-swingup-v0", "Hopper-v5"])
def test_a_closed_environment_is_not_copied(task: str) -> None:
    env = registry.make(task)
    env.close()
    with pytest.raises(TelosError, match="copy of an environment: given one that is closed"):
        copy.deepcopy(env)


def test_a_backend_that_cannot_hand_over_its_state_is_not_copied() -> None:
    """Such a backend is from another package, written before the protocol had copies."""

    class Older:
        def __init__(self, backend: Any) -> None:
            self._backend = backend

        def __getattr__(self, name: str) -> Any:
            if name in ("hidden", "restore"):
                raise AttributeError(name)
            return getattr(self._backend, name)

    task = registry.load("Hopper-v5")
    env = Environment(dataclasses.replace(task, backend=lambda: Older(task.backend())))
    with pytest.raises(TelosError, match="whose Older has no method `hidden`"):
        copy.deepcopy(env)


def test_a_pickled_task_is_made_again_from_its_id() -> None:
    for name in ("Hopper-v5", "dm_control/walker-walk-v0", ARM):
        task = pickle.loads(pickle.dumps(registry.load(name)))
        assert (task.id, task.source) == (name, name)


@pytest.mark.parametrize("task", ["dm_control/cartpole-swingup-v0", "Hopper-v5", "Ant-v5", ARM])
def test_an_environment_declares_one_frame_per_control_step(task: str) -> None:
    env = registry.make(task)
    assert env.metadata["render_fps"] == pytest.approx(1 / env.interface.control_period)
    assert registry.make(task).metadata is not env.metadata
