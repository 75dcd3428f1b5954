"""Pictures show the moving parts, through the requested camera or one that sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from envs import camera, registry, render
from envs.environment import Environment
from envs.errors import TelosError
from envs.picture import View

MODEL = """
<mujoco>
  {visual}
  <worldbody>
    {light}
    <geom type="plane" size="5 5 .1"/>
    <geom type="box" size="2 .1 2" pos="0 -4 2" rgba="1 0 0 1"/>
    <camera name="sky" pos="0 0 50" xyaxes="1 0 0 0 -1 0"/>
    <camera name="behind_a_wall" pos="0 -9 1" xyaxes="1 0 0 0 0 1"/>
    <camera name="front" pos="0 -3 .5" xyaxes="1 0 0 0 .1 1"/>
    <body name="base" pos="0 0 .5">
      {joint}
      <camera name="eye" pos="0 0 0" xyaxes="0 -1 0 0 0 1"/>
      {tracking}
      <geom type="box" size=".2 .1 .05" mass="3"/>
      <body pos=".2 .1 0">
        <joint name="leg" axis="1 0 0"/>
        <geom type="capsule" fromto="0 0 0 0 .2 -.2" size=".03" mass=".5"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="leg" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
FOLLOWS = '<camera name="side" mode="trackcom" pos="0 -2 0" xyaxes="1 0 0 0 0 1"/>'
FREE = "<freejoint/>"
DARK = '<visual><headlight active="0"/></visual>'

Maker = Callable[..., Environment]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    """Makes an environment from parts of the model and from further keys of its task file."""
    made: list[Environment] = []

    def _make(view: View | None = None, keys: str = "", **parts: str) -> Environment:
        blanks = {"visual": "", "light": '<light pos="0 0 5"/>', "joint": '<joint type="ball"/>', "tracking": ""}
        (tmp_path / "model.xml").write_text(MODEL.format(**{**blanks, **parts}))
        path = tmp_path / "task.yaml"
        path.write_text(f"model: model.xml\nsubsteps: 5\nreward: [{{signal: qvel}}]\n{keys}\n")
        made.append(registry.make(str(path), render_mode="rgb_array", view=view))
        made[-1].reset(seed=0)
        return made[-1]

    yield _make
    for env in made:
        env.close()


def _share(tags: dict[str, float], default: float = 0.0) -> camera.Seen:
    """A stand-in for rendering: what each camera of the model sees, by index; `default` for our own."""
    fixed = int(mujoco.mjtCamera.mjCAMERA_FIXED)

    def seen(through: mujoco.MjvCamera) -> float:
        return tags.get(str(through.fixedcamid), 0.0) if int(through.type) == fixed else default

    return seen


def _name(env: Environment, chosen: mujoco.MjvCamera) -> str:
    kind = mujoco.mjtCamera(int(chosen.type))
    if kind == mujoco.mjtCamera.mjCAMERA_FIXED:
        return env.model.cam(chosen.fixedcamid).name
    return {"mjCAMERA_FREE": "our own", "mjCAMERA_TRACKING": "our own, following"}[kind.name]


# Indices of the cameras: 0 sky, 1 behind_a_wall, 2 front, 3 eye, 4 side (if it exists).
@pytest.mark.parametrize(
    ("parts", "shares", "expected"),
    [
        ({}, {"2": 0.1, "3": 0.5}, "front"),
        ({}, {"1": 0.05, "2": 0.1}, "behind_a_wall"),
        ({}, {"0": 0.001, "2": 0.1}, "front"),
        ({}, {"3": 0.5}, "our own"),
        ({"tracking": FOLLOWS}, {"2": 0.1, "4": 0.5}, "front"),
        ({"tracking": FOLLOWS}, {"4": 0.5}, "side"),
        ({"tracking": FOLLOWS, "joint": FREE}, {"2": 0.5, "4": 0.1}, "side"),
        ({"tracking": FOLLOWS, "joint": FREE}, {"2": 0.5}, "our own, following"),
        ({"joint": FREE}, {"2": 0.5, "3": 0.5}, "our own, following"),
        ({"joint": '<joint type="slide"/>'}, {"2": 0.5}, "our own, following"),
        ({"joint": '<joint type="slide" range="-1 1" limited="true"/>'}, {"2": 0.5}, "front"),
        ({"joint": '<joint type="slide" stiffness="9"/>'}, {"2": 0.5}, "front"),
        ({"joint": '<joint type="ball"/>'}, {"2": 0.5}, "front"),
    ],
)
def test_the_camera_that_sees_what_moves_is_taken(
    make: Maker, parts: dict[str, str], shares: dict[str, float], expected: str
) -> None:
    env = make(**parts)
    chosen = camera.of(env.model, env.backend.data, None, _share(shares, default=0.01))
    assert _name(env, chosen) == expected


@pytest.mark.parametrize(("asked", "expected"), [("eye", "eye"), (0, "sky"), (3, "eye"), ("auto", "our own")])
def test_the_camera_that_was_asked_for_is_taken_whatever_it_sees(make: Maker, asked: Any, expected: str) -> None:
    env = make()
    assert _name(env, camera.of(env.model, env.backend.data, asked, _share({"2": 0.5}))) == expected


@pytest.mark.parametrize("wrong", ["frnt", "", 4, -1])
def test_a_camera_that_the_model_lacks_is_refused(make: Maker, wrong: str | int) -> None:
    allowed = "sky, behind_a_wall, front, eye, auto, or 0 to 3"
    with pytest.raises(TelosError, match=f"camera: given {wrong!r}.*allowed: {allowed}"):
        make(view=View(wrong))
    with pytest.raises(TelosError, match=rf"task\.yaml: camera: given {wrong!r}.*allowed: {allowed}"):
        make(keys=f"camera: {wrong!r}")


def test_the_camera_of_a_task_file_gives_way_to_one_that_is_asked_for(make: Maker) -> None:
    assert make(keys="camera: eye").view.camera == "eye"
    assert make(keys="camera: eye", view=View("sky")).view.camera == "sky"


def _frame(env: Environment) -> np.ndarray | None:
    """The environment's picture; None on a machine that cannot render, where it must raise TelosError."""
    if render.backend() is not None:
        return env.render()
    with pytest.raises(TelosError, match="render: given"):
        env.render()
    return None


def _colours(frame: np.ndarray) -> int:
    return len(np.unique(frame.reshape(-1, 3), axis=0))


def test_a_camera_behind_a_wall_is_not_taken(make: Maker) -> None:
    """Naive: take the first camera. It looks away, and the second one looks at a wall."""
    env = make()
    frame = _frame(env)
    if frame is not None:
        assert env._picture is not None
        assert _name(env, env._picture.camera) == "front"


@pytest.mark.parametrize("parts", [{"light": ""}, {"light": "", "visual": DARK}])
def test_a_model_without_lights_is_not_shown_in_the_dark(make: Maker, parts: dict[str, str]) -> None:
    frame = _frame(make(**parts))
    if frame is not None:
        assert frame.max() > 40
        assert _colours(frame) > 10


@pytest.mark.parametrize("size", [(320, 240), (64, 48), (1600, 1200)])
def test_a_picture_has_the_size_that_was_asked_for(make: Maker, size: tuple[int, int]) -> None:
    """Naive: MuJoCo's own framebuffer. It ends at 640 by 480."""
    frame = _frame(make(view=View(None, *size)))
    if frame is not None:
        assert frame.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("task", ["dm_control/point_mass-easy-v0", "Reacher-v5", "InvertedPendulum-v5"])
def test_what_moves_is_in_the_picture_and_so_is_most_of_its_reach(task: str) -> None:
    env = registry.make(task, render_mode="rgb_array")
    env.reset(seed=0)
    before = _frame(env)
    assert before is None or _colours(before) > 10
    for part in range(env.model.nq):
        env.backend.data.qpos[part] += 0.1
    mujoco.mj_forward(env.model, env.backend.data)
    after = _frame(env)
    if before is not None and after is not None:
        changed = (before != after).any(2)
        assert 1e-4 < changed.mean() < 0.5
        edges = np.concatenate([changed[0], changed[-1], changed[:, 0], changed[:, -1]])
        assert not edges.any(), "nothing is cut off"
    env.close()
