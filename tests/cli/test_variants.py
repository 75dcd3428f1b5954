"""A factor that a model's forces cannot be scaled by gives one line that names it, status 2, and nothing on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MODEL = """
<mujoco>
  <extension><plugin plugin="mujoco.pid"/></extension>
  <worldbody><body><joint name="turn" axis="0 1 0"/><geom size=".1" pos=".2 0 0"/></body></worldbody>
  <actuator>
    <plugin name="drive" joint="turn" plugin="mujoco.pid" actdim="1" ctrlrange="-1 1">
      <config key="kp" value="4"/><config key="ki" value="1"/></plugin>
  </actuator>
</mujoco>
"""
TASK = "{model: model.xml, control_period: 0.02, frames: 4, reward: [{signal: joint_position/turn, norm: quadratic}]}"
RULE = "[{kind: joint_position, name: far, joint: turn, upper: 5, unit: rad, scale: 0.1}]"
SAID = "allowed: 1 for actuator 'drive' (a plugin), whose force cannot be scaled"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A pendulum driven by a plugin."""
    (tmp_path / "model.xml").write_text(MODEL)
    (tmp_path / "task.yaml").write_text(TASK)
    return tmp_path / "task.yaml"


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["--variant.gain", "1.5"], "variant.gain: given 1.5"),
        (
            ["--world_model.variants", "[{mass: 2}, {gain: 1.5}]"],
            "world_model.variants[1].gain: given 1.5",
        ),
        (
            ["--world_model.variants", "[{gain: 1.5}]", "--guardrails", RULE],
            "world_model.variants[0].gain: given 1.5",
        ),
    ],
    ids=["reality", "planned for", "planned for and guarded"],
)
def test_gain_of_a_plugin_is_refused(telos: Callable[..., Any], task: Path, arguments: list[str], where: str) -> None:
    done = telos("run", "--task", task, "--out", task.parent / "run", *arguments)
    assert done.status == 2
    assert done.err == f"telos: {where}; {SAID}\n"
    assert {item.name for item in task.parent.iterdir()} == {"model.xml", "task.yaml"}


@pytest.mark.usefixtures("fast")
def test_its_bodies_and_joints_can_vary(telos: Callable[..., Any], task: Path) -> None:
    vary = ["--variant.mass", "1.5", "--world_model.variants", "[{damping: 2, friction: 2, mass: 2}]"]
    small = ["--episodes", "1", "--planner.budget.evaluations", "8", "--planner.horizon", "3", "--video", "false"]
    assert telos("run", "--task", task, "--out", task.parent / "run", *vary, *small).status == 0
