"""Every back-up controller that a task declares brings the system to rest within its declared time."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from envs import registry
from envs.backup import BackUp, strengthened
from envs.errors import GuardrailWeakened, TelosError
from envs.guard.controller import BackUpController

DECLARED = [name for name in registry.table() if registry.load(name).back_up is not None]


def test_some_tasks_declare_one() -> None:
    assert "dm_control/point_mass-easy-v0" in DECLARED


@pytest.mark.parametrize("name", DECLARED)
def test_it_comes_to_rest_from_random_motion_and_stays(name: str) -> None:
    env = registry.make(name)
    back_up = env.task.back_up
    assert back_up is not None
    controller = BackUpController(back_up, env.model, env.interface)
    moved = 0
    for seed in range(6):
        env.reset(seed=seed)
        rng = np.random.default_rng(seed)
        action = np.zeros(env.interface.action_size)
        for step in range(60):
            if step % 10 == 0:
                action = rng.uniform(-1, 1, env.interface.action_size)
            env.step(action)
        moved += not controller.at_rest(env.snapshot().state)
        begun = controller.begin(env.snapshot().state)
        for step in range(controller.steps + controller.rest_steps):
            env.step(controller.action(env.snapshot().state, begun))
            assert step < controller.steps - 1 or controller.at_rest(env.snapshot().state)
    assert moved > 0, "it was at rest before"
    env.close()


def test_it_can_only_be_strengthened() -> None:
    base = BackUp(seconds=1.0, rest_speed=0.1, gain=2.0)
    assert strengthened(None, base) == strengthened(base, None) == base
    stricter = BackUp(seconds=1.0, rest_speed=0.05, gain=2.0)
    assert strengthened(base, stricter) == stricter
    some = BackUp(seconds=1.0, rest_speed=0.1, gain=2.0, joints=("a",))
    for more in (("a", "b"), ()):  # () means all joints
        grown = BackUp(seconds=1.0, rest_speed=0.1, gain=2.0, joints=more)
        assert strengthened(some, grown) == grown
    for weaker in (
        BackUp(seconds=1.0, rest_speed=0.1, gain=9.0),  # another, unchecked controller
        BackUp(seconds=1.0, rest_speed=0.1, gain=0.0),
        BackUp(seconds=0.5, rest_speed=0.1, gain=2.0),  # the margins would be watched for less long
        BackUp(seconds=2.0, rest_speed=0.1, gain=2.0),
        BackUp(seconds=1.0, rest_speed=0.2, gain=2.0),
        BackUp(seconds=1.0, rest_speed=0.1, gain=2.0, joints=("a",)),
    ):
        with pytest.raises(GuardrailWeakened):
            strengthened(base, weaker)


@pytest.mark.parametrize("values", [(0.0, 0.1, 1.0), (1.0, 0.0, 1.0), (1.0, 0.1, -1.0), (float("nan"), 0.1, 1.0)])
def test_impossible_values_are_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(TelosError):
        BackUp(*values)


def test_only_a_stricter_stop_set_is_stronger_under_any_law() -> None:
    base = BackUp(seconds=1.0, rest_speed=0.1, law="retreat", posture=(("a", 0.5),), within=0.1, stiffness=3.0)
    assert strengthened(base, replace(base, within=0.05)).within == 0.05  # type: ignore[union-attr]
    for weaker in ({"within": 0.2}, {"posture": (("a", 0.6),)}, {"stiffness": 2.0}, {"gain": 1.0}):
        with pytest.raises(GuardrailWeakened):
            strengthened(base, replace(base, **weaker))
    with pytest.raises(GuardrailWeakened, match=r"back_up\.law: given brake; allowed: hold"):
        strengthened(BackUp(1.0, 0.1, law="hold"), BackUp(1.0, 0.1, law="brake"))


def test_every_field_is_part_of_the_digest() -> None:
    base = BackUp(seconds=1.0, rest_speed=0.1, law="retreat", posture=(("a", 0.5),), within=0.1)
    changed: list[BackUp] = [
        base,
        replace(base, seconds=2.0),
        replace(base, rest_speed=0.2),
        replace(base, gain=1.0),
        replace(base, gain=0.0),
        replace(base, joints=("a",)),
        replace(base, stiffness=1.0),
        replace(base, posture=(("a", 0.6),)),
        replace(base, within=0.2),
        *(BackUp(1.0, 0.1, law=law) for law in ("brake", "hold", "gravity_brake")),
    ]
    assert len({json.dumps(one.canonical(), sort_keys=True) for one in changed}) == len(changed)
    written = [replace(base, posture=(("b", 1.0), ("a", 0.5))), replace(base, posture=(("a", 0.5), ("b", 1)))]
    assert written[0].canonical() == written[1].canonical()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"law": "halt"}, r"back_up\.law: given 'halt'.*hold"),
        ({"law": "retreat"}, r"posture and within with law retreat"),
        ({"posture": (("a", 0.0),)}, r"posture and within with law retreat"),
        ({"stiffness": 1.0}, r"back_up\.stiffness: given 1\.0; allowed: with law hold or retreat"),
        ({"law": "hold", "stiffness": -1.0}, r"back_up\.stiffness: given -1\.0"),
        ({"rest_speed": float("inf")}, r"back_up\.rest_speed: given inf"),
    ],
)
def test_laws_that_say_nothing_are_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(TelosError, match=said):
        BackUp(**{"seconds": 1.0, "rest_speed": 0.1, **more})
