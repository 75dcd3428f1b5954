"""Rules that the model itself enforces are legal, but reported."""

from __future__ import annotations

from typing import Any

import mujoco
import pytest

from envs.guardrails import Guardrails, build
from envs.guardrails.doubtful import doubts

MODEL = """
<mujoco>
  <worldbody>
    <body>
      <joint name="knee" type="hinge" axis="0 1 0" range="-1 1" limited="true"/>
      <geom size=".1"/>
      <body><joint name="free" type="hinge" axis="0 1 0"/><geom size=".1"/></body>
    </body>
  </worldbody>
  <compiler angle="radian"/>
  <actuator>
    <motor name="clipped" joint="knee" forcerange="-10 4"/>
    <motor name="bounded" joint="knee" ctrlrange="-1 2" gear="50"/>
    <motor name="unbounded" joint="knee"/>
    <position name="servo" joint="knee" kp="3" ctrlrange="-1 1"/>
    <motor name="damped" joint="knee" ctrlrange="-1 1" damping="1"/>
  </actuator>
</mujoco>
"""


def told(kind: str, **values: Any) -> list[str]:
    rules: Guardrails = build([{"kind": kind, "name": "rule", **values}])
    return list(doubts(mujoco.MjModel.from_xml_string(MODEL), rules))


@pytest.mark.parametrize(
    ("bounds", "doubtful"),
    [
        ({"upper": 3.0}, True),
        ({"lower": -3.0, "upper": 3.0}, True),
        ({"upper": 1.0, "tolerance": 0.5}, True),
        ({"upper": 1.1}, False),  # soft limits can be exceeded
        ({"lower": -3.0, "upper": 0.5}, False),
        ({"lower": -0.5, "upper": 3.0}, False),
    ],
)
def test_a_joint_that_its_own_range_stops(bounds: dict[str, float], doubtful: bool) -> None:
    said = told("joint_position", joint="knee", **bounds)
    assert bool(said) == doubtful
    assert all("'rule'" in text and "-1 to 1 rad" in text for text in said)
    assert not told("joint_position", joint="free", **bounds)


@pytest.mark.parametrize(("actuator", "most"), [("clipped", 10.0), ("bounded", 2.0)])
def test_a_force_that_the_actuator_cannot_make(actuator: str, most: float) -> None:
    assert f"makes {most:g} at most" in told("actuator_force", actuator=actuator, limit=most)[0]
    assert told("actuator_force", actuator=actuator, limit=0.9 * most, tolerance=0.1 * most)
    assert not told("actuator_force", actuator=actuator, limit=0.9 * most)


@pytest.mark.parametrize("actuator", ["unbounded", "servo", "damped"])
def test_a_force_without_a_known_bound(actuator: str) -> None:
    assert not told("actuator_force", actuator=actuator, limit=1e6)


def test_other_kinds_are_not_doubted() -> None:
    assert not told("joint_velocity", joint="knee", limit=1e6)
    assert not told("actuator_power", actuator="clipped", limit=1e6)
