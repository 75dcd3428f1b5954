"""Pictures through the library: any value of MUJOCO_GL gives a picture, or one line that says what to set."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent import build
from agent.config.load import load
from envs import registry, render
from envs.environment import Environment
from envs.errors import TelosError

ROOT = Path(__file__).parents[2]
ARM = str(ROOT / "docs" / "arm" / "arm.yaml")
SHAPE = (480, 640, 3)

PROGRAM = """
import sys
import mujoco, dm_control.suite, gymnasium.envs.mujoco
from envs import registry
env = registry.make(sys.argv[1], render_mode="rgb_array")
env.reset(seed=0)
try:
    print(env.render().shape)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def _rendered(task: str, **variables: str) -> tuple[str, str]:
    """Standard output and errors of a program that uses only the library."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MUJOCO_", "PYOPENGL", "DISPL"))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, task],
        env={**clean, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr


def _frame(env: Environment) -> np.ndarray:
    """The environment's picture; blank if this machine cannot render and the environment raises TelosError."""
    if _works(*render.BACKENDS):
        return env.render()
    with pytest.raises(TelosError, match="render: given"):
        env.render()
    return np.zeros(SHAPE, np.uint8)


def _works(*backends: str) -> bool:
    return any(render.probe(name) for name in backends)


@pytest.mark.parametrize("variables", [{}, {"DISPLAY": ":77"}, {"MUJOCO_GL": "osmesa"}])
def test_a_library_user_gets_a_picture_where_a_backend_works(variables: dict[str, str]) -> None:
    """Naive: use the backend that MuJoCo chose at its import. It needs a display, and raises FatalError without one."""
    asked = variables.get("MUJOCO_GL")
    out, complaints = _rendered(ARM, **variables)
    if _works(*([asked] if asked else render.BACKENDS)):
        assert out == str(SHAPE)
        assert "Error" not in complaints, "an environment that nobody closed is cleared up at the end"
    else:
        assert out.startswith("TelosError: render: given")


@pytest.mark.parametrize("backend", ["disable", "glfw"])
def test_a_backend_that_renders_nothing_is_named_with_what_to_set(backend: str) -> None:
    out, _ = _rendered("Hopper-v5", MUJOCO_GL=backend)
    assert out.startswith(f"TelosError: render: given MUJOCO_GL={backend}")
    assert "MUJOCO_GL=egl or osmesa" in out
    assert "\n" not in out


def test_an_environment_without_a_render_mode_says_so() -> None:
    env = registry.make("Hopper-v5")
    env.reset(seed=0)
    with pytest.raises(TelosError, match=r"render: given .* render_mode None; allowed: .*rgb_array"):
        env.render()
    env.close()


@pytest.mark.parametrize("wrong", ["human", "depth_array", ""])
def test_another_render_mode_is_refused(wrong: str) -> None:
    with pytest.raises(TelosError, match="render_mode: given"):
        build.environment(load(task=ARM), render_mode=wrong)


@pytest.mark.parametrize("mode", [None, "rgb_array"])
def test_the_render_mode_is_what_was_asked_for(mode: str | None) -> None:
    for env in (build.environment(load(task=ARM), render_mode=mode), registry.make(ARM, render_mode=mode)):
        assert env.render_mode == mode
        env.close()


@pytest.mark.parametrize("task", ["Hopper-v5", "dm_control/cartpole-swingup-v0", ARM])
def test_rendering_changes_no_physics_and_a_copy_renders_for_itself(task: str) -> None:
    env, unseen = registry.make(task, render_mode="rgb_array"), registry.make(task)
    for each in (env, unseen):
        each.reset(seed=0)
    for _ in range(3):
        frame = _frame(env)
        assert (frame.shape, frame.dtype) == (SHAPE, np.uint8)
        action = np.full(env.interface.action_size, 0.5)
        env.step(action)
        unseen.step(action)
    np.testing.assert_array_equal(env.snapshot().state, unseen.snapshot().state)
    twin = copy.deepcopy(env)
    np.testing.assert_array_equal(_frame(twin), _frame(env))
    for each in (env, unseen, twin):
        each.close()
