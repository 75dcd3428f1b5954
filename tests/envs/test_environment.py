"""The world's own door: what is no action does not come in."""

from __future__ import annotations

import numpy as np
import pytest

from envs import registry
from envs.errors import TelosError
from envs.guardrails import build
from envs.monitor import Monitor
from envs.variants import Variant


@pytest.mark.parametrize("task", ["dm_control/reacher-easy-v0", "Hopper-v5"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1.0000001, -3.0])
def test_an_action_that_is_not_finite_or_out_of_range_is_refused(task: str, wrong: float) -> None:
    env = registry.make(task)
    env.reset(seed=0)
    before = env.snapshot().state
    action = np.zeros(env.interface.action_size)
    action[-1] = wrong
    with pytest.raises(TelosError) as caught:
        env.step(action)
    assert caught.value.where == f"action[{len(action) - 1}]"
    assert caught.value.given == str(wrong)
    assert "[-1, 1]" in (caught.value.allowed or "")
    np.testing.assert_array_equal(env.snapshot().state, before)
    env.step(np.ones_like(action))
    env.step(-np.ones_like(action))
    env.close()


def test_a_world_that_diverges_says_so() -> None:
    env = registry.make("dm_control/cartpole-swingup-v0", Variant(damping=1e300))
    env.reset(seed=0)
    with pytest.raises(TelosError, match="environment: given a diverged simulation"):
        env.step(np.ones(1))
    env.close()


@pytest.mark.parametrize("action", [np.zeros(1), np.zeros((1, 2)), np.zeros(3), 0.0])
def test_an_action_of_another_shape_is_refused(action: np.ndarray) -> None:
    env = registry.make("dm_control/reacher-easy-v0")
    env.reset(seed=0)
    with pytest.raises(TelosError, match=r"action: given shape .*\(2,\)"):
        env.step(action)
    env.close()


@pytest.mark.parametrize(
    ("task", "joint"), [("dm_control/finger-spin-v0", "hinge"), ("dm_control/cheetah-run-v0", "bthigh")]
)
def test_a_planner_is_told_nominal_values_also_where_a_reset_writes_them(task: str, joint: str) -> None:
    """finger-spin's reset writes the damping of the hinge: of reality's variant, the planner must learn nothing."""
    plain, varied = registry.make(task), registry.make(task, Variant(damping=3.0))
    for seed in (0, 1):
        plain.reset(seed=seed)
        varied.reset(seed=seed)
        np.testing.assert_array_equal(varied.model.dof_damping, 3.0 * plain.model.dof_damping)
        for name, value in plain.snapshot().params.model.items():
            np.testing.assert_array_equal(varied.snapshot().params.model[name], value)
    rules = build(
        [{"kind": "joint_velocity", "name": "calm", "joint": joint, "limit": 1e3, "unit": "rad/s", "scale": 1.0}]
    )
    judge = Monitor(varied.task, varied.interface, rules, varied.variant)
    before = varied.snapshot()
    varied.step(np.ones(varied.interface.action_size))
    assert judge.judge(before, varied.control(), varied.snapshot()).verified, "the judge knows the real values"
    plain.close()
    varied.close()
