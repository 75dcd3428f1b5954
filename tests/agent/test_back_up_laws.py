"""Back-up laws inside gate and agent: verified stops act, servos hold, and starts that cannot stop are reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from agent import build
from agent.config import resolved
from agent.config.load import load
from agent.rollouts import episode
from agent.rollouts.jobs import Job
from agent.rollouts.parcel import sealed
from agent.rollouts.player import made
from agent.rollouts.rollouts import Serial
from envs.environment import Environment
from envs.errors import TelosError
from envs.guard.gate import Gate
from envs.guardrails import Guardrails

ARM = Path(__file__).parents[2] / "docs" / "arm"
SMALL = {"planner.horizon": 12, "planner.budget.evaluations": 16, "video": False, "threads": 1}
SERVO = """
<mujoco>
  <compiler angle="radian"/>
  <option timestep="0.005" gravity="0 0 {gravity}" integrator="implicitfast"/>
  <worldbody>
    <body><joint name="turn" axis="0 {y} {z}" damping="0.2"/>
      <geom type="capsule" size=".02" fromto="0 0 0 .5 0 0" mass="1"/><site name="tip" pos=".5 0 0"/></body>
  </worldbody>
  <actuator><position name="servo" joint="turn" kp="40" kv="4" ctrlrange="-1.5 1.5"/></actuator>
  <keyframe><key name="aside" qpos="1.2" ctrl="1.2"/></keyframe>
</mujoco>
"""


def task_of(folder: Path, gravity: float = 0.0, **more: Any) -> str:
    """A servo-driven arm at 1.2 rad that should stay there; with gravity, it turns in a vertical plane."""
    axes = {"y": 1, "z": 0} if gravity else {"y": 0, "z": 1}
    (folder / "model.xml").write_text(SERVO.format(gravity=gravity, **axes))
    task = {
        "model": "model.xml",
        "control_period": 0.02,
        "frames": 40,
        "reward": [{"signal": "joint_position/turn", "target": 1.2, "norm": "l2", "width": 0.05}],
        "reset": {"keyframe": "aside"},
        "guardrails": [{"kind": "joint_velocity", "name": "calm", "joint": "turn", "limit": 0.4}],
        **more,
    }
    file = folder / "task.yaml"
    file.write_text(yaml.safe_dump(task))
    return str(file)


def arm(folder: Path, **back_up: Any) -> str:
    """The task docs/arm with a back-up controller."""
    (folder / "arm.xml").write_bytes((ARM / "arm.xml").read_bytes())
    task = yaml.safe_load((ARM / "arm.yaml").read_text())
    file = folder / "arm.yaml"
    file.write_text(yaml.safe_dump({**task, "frames": 60, "back_up": {"seconds": 0.4, "rest_speed": 0.1, **back_up}}))
    return str(file)


def of(task: str, **overrides: Any) -> tuple[Gate, Environment]:
    _, world = made(load(task=task, overrides={**SMALL, **overrides}))
    assert world.gate is not None
    return world.gate, world.env


@pytest.mark.parametrize("gravity", [0.0, -9.81])
def test_the_fallback_of_a_servo_holds_where_it_is(tmp_path: Path, gravity: float) -> None:
    """Without a back-up controller. The neutral control once meant 0 rad, through any obstacle on the way."""
    gate, env = of(task_of(tmp_path, gravity))
    env.reset(seed=0)
    for _ in range(50):
        env.step(gate.fallback(env.snapshot()))
    assert abs(env.snapshot().state[1] - 1.2) < 0.02


def test_an_agent_that_nothing_is_allowed_to_holds(tmp_path: Path) -> None:
    """If every motion breaks a rule, only the fallback remains, and it never breaks the rule."""
    still = {"kind": "joint_velocity", "name": "calm", "joint": "turn", "limit": 1e-3}
    agent, world = made(load(task=task_of(tmp_path, guardrails=[still]), overrides=SMALL))
    result = episode.run(agent, world, 0, 0)
    assert not any(step.violated for step in result.steps)


def test_hold_is_a_proposal_where_the_back_up_is_another(tmp_path: Path) -> None:
    task = task_of(tmp_path, back_up={"seconds": 0.4, "rest_speed": 0.1, "gain": 0.1})
    agent, world = made(load(task=task, overrides=SMALL))
    agent.reset(0)
    proposed = agent.act(world.reset(0)).problem.proposals
    assert set(proposed) == {"fallback", "hold"}
    np.testing.assert_allclose(world.env.interface.native(proposed["hold"].numpy()), 1.2)


def test_motors_have_no_hold_of_their_own(tmp_path: Path) -> None:
    gate, env = of(arm(tmp_path, law="gravity_brake"))
    env.reset(seed=0)
    assert gate.hold(env.snapshot()) is None


@pytest.mark.parametrize("law", ["gravity_brake", "hold"])
def test_an_arm_under_gravity_acts_where_its_back_up_can_hold(tmp_path: Path, law: str) -> None:
    agent, world = made(load(task=arm(tmp_path, law=law), overrides=SMALL))
    result = episode.run(agent, world, 0, 0)
    assert not any(step.violated for step in result.steps)
    assert sum(step.fallback for step in result.steps) <= 0.1 * len(result.steps)
    assert not any(step.notice for step in result.steps)


def test_a_stop_that_returns_to_where_it_began_acts_as_it_was_verified(tmp_path: Path) -> None:
    """The gate remembers the pose at which a stop began; reading it anew at each decision would let `hold` creep."""
    gate, env = of(arm(tmp_path, law="hold"))
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(5):
        env.step(rng.uniform(-0.3, 0.3, 2))
    start, prefix = env.snapshot(), np.array([[0.2, -0.2]])
    verdict = gate.check(start, prefix)
    assert verdict.passed
    env.step(prefix[0])
    for verified in verdict.back_up:
        acted = gate.fallback(env.snapshot())
        np.testing.assert_allclose(acted, verified, atol=1e-9)
        refused = gate.check(env.snapshot(), np.full((1, 2), 9.0))  # does not change the stop
        assert not refused.passed
        env.step(acted)


def test_a_pass_ends_a_stop(tmp_path: Path) -> None:
    gate, env = of(arm(tmp_path, law="hold"))
    env.reset(seed=0)
    before = gate.fallback(env.snapshot())
    env.step(np.array([0.3, 0.3]))
    assert not np.allclose(gate.fallback(env.snapshot()), 0.0, atol=1e-2), "back to where it began"
    assert gate.check(env.snapshot(), before[None]).passed
    anew = gate.fallback(env.snapshot())
    fresh, _ = of(arm(tmp_path, law="hold"))
    np.testing.assert_array_equal(anew, fresh.fallback(env.snapshot()))


def test_a_start_from_which_the_stop_fails_is_told_at_once(tmp_path: Path) -> None:
    """Torques that only damp cannot hold an arm against gravity."""
    config = load(task=arm(tmp_path, law="brake", gain=20), overrides={**SMALL, "frames": 2})
    told: list[Any] = []
    list(Serial().run([Job(sealed(config), 0)], told.append, lambda: False))
    assert told[0] == "episode 0: the back-up (brake) cannot stop safely from this start: " + (
        "the safe stop does not come to rest in time"
    )


SLIDE = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody><body name="load" pos="0 0 1"><joint name="slide" type="slide" axis="0 0 1"/>
    <geom type="sphere" size=".05" mass="1"/></body></worldbody>
  <actuator><motor name="motor" joint="slide" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


@pytest.mark.parametrize(("speed", "seconds"), [(2.9, 0.3), (0.9, 0.1), (0.1, 0.01)])
def test_a_turning_point_is_no_rest(tmp_path: Path, speed: float, seconds: float) -> None:
    """A load thrown upwards, too heavy for its motor, is slow at its turning point and then falls."""
    (tmp_path / "slide.xml").write_text(SLIDE)
    back_up = {"law": "gravity_brake", "seconds": seconds, "rest_speed": 0.5}
    floor = {"kind": "body_height", "name": "floor", "body": "load", "lower": -20.0, "scale": 0.1}
    file = tmp_path / "slide.yaml"
    file.write_text(yaml.safe_dump({"model": "slide.xml", "substeps": 1, "guardrails": [floor], "back_up": back_up}))
    gate, env = of(str(file))
    env.reset(seed=0)
    start = env.snapshot()
    state = start.state.copy()
    state[2] = speed
    verdict = gate.try_stop(replace(start, state=state))
    assert not verdict.passed
    assert verdict.reason.startswith("the safe stop rests for ")


def test_the_law_is_part_of_the_rules_digest(tmp_path: Path) -> None:
    digests = set()
    for more in ({"law": "gravity_brake"}, {"law": "hold"}, {"law": "hold", "stiffness": 3.0}, {"law": "brake"}):
        config = load(task=arm(tmp_path, **more), overrides=SMALL)
        _, world = made(config)
        world.env.close()
        assert world.gate is not None
        digests.add(resolved.rules_sha256(world.gate.digest, world.gate.back_up))
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("back_up", "said"),
    [
        ({"seconds": 1e-6}, r"back_up\.seconds: given 1e-06; allowed: >= 0\.02 s, one control step"),
        ({"rest_speed": 1e9}, r"back_up\.rest_speed: given 1e\+09; allowed: at most \d"),
        ({"law": "hold", "stiffness": 0}, r"back_up\.stiffness: given 0; allowed: > 0"),
        ({"law": "halt"}, r"law.*'halt'"),
        ({"law": "retreat"}, r"posture and within"),
        (
            {"law": "retreat", "posture": {"sholder": 0}, "within": 0.1},
            r"posture: given 'sholder'.*did you mean 'shoulder'",
        ),
    ],
)
def test_a_stop_that_is_none_is_refused_at_load(tmp_path: Path, back_up: dict[str, Any], said: str) -> None:
    with pytest.raises(TelosError, match=said):
        made(load(task=arm(tmp_path, **back_up), overrides=SMALL))


def test_without_rules_no_stop_goes_on(tmp_path: Path) -> None:
    """Nothing is refused then, so the proposed stop holds the present pose, not that of the first decision."""
    config = load(task=arm(tmp_path, law="hold"), overrides=SMALL)
    env = build.environment(config)
    gate = Gate(env.task, env.interface, Guardrails(), env.task.back_up)
    env.reset(seed=0)
    first = gate.fallback(env.snapshot())
    for _ in range(5):
        assert gate.check(env.snapshot(), first[None]).passed
        env.step(np.array([0.5, 0.5]))
    fresh = Gate(env.task, env.interface, Guardrails(), env.task.back_up)
    np.testing.assert_array_equal(gate.fallback(env.snapshot()), fresh.fallback(env.snapshot()))
