"""The environment refuses invalid actions, reports divergence, and checks where episodes begin."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from envs import registry
from envs.errors import TelosError
from envs.guard.monitor import Monitor
from envs.guardrails import Guardrail, Guardrails, build
from envs.physics.batch import columns
from envs.physics.variants import Variant
from envs.task import Snapshot, at_states


@pytest.mark.parametrize("task", ["dm_control/reacher-easy-v0", "Hopper-v5"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1.00001, -1.00001, -3.0])
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


@pytest.mark.parametrize("task", ["dm_control/reacher-easy-v0", "Hopper-v5", "Pusher-v5"])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_an_action_beyond_the_range_by_rounding_is_clipped(task: str, sign: float) -> None:
    env, exact = registry.make(task), registry.make(task)
    env.reset(seed=0)
    exact.reset(seed=0)
    action = np.full(env.interface.action_size, sign)
    for beyond in (1e-6, float(np.float32(0.4) / np.float64(0.4)) - 1):
        env.step(action * (1 + beyond))
        exact.step(action)
        np.testing.assert_array_equal(env.control(), exact.control())
        np.testing.assert_array_equal(env.snapshot().state, exact.snapshot().state)
    env.close()
    exact.close()


def test_a_world_that_diverges_says_so() -> None:
    env = registry.make("dm_control/cartpole-swingup-v0", Variant(damping=1e300))
    env.reset(seed=0)
    with pytest.raises(TelosError, match="environment: given a diverged simulation"):
        env.step(np.ones(1))
    env.close()


@pytest.mark.parametrize("task", ["Hopper-v5", "HalfCheetah-v5"])
def test_a_gymnasium_world_that_diverges_says_so(task: str) -> None:
    """Naive: use what Gymnasium returns. The model is reset to its default pose and earns reward there."""
    env = registry.make(task, Variant(gain=1e12))
    said = r"environment: given a diverged simulation \(mjWARN_BADQACC\); allowed: .*see variant"
    for _ in range(2):
        env.reset(seed=0)
        with pytest.raises(TelosError, match=said):
            env.step(np.ones(env.interface.action_size))
        env.step(np.zeros(env.interface.action_size))  # earlier divergence has no effect
    env.close()


def test_a_gymnasium_world_that_diverges_in_its_last_substep_says_so() -> None:
    """Naive: wait for MuJoCo's warning, which comes at the next step. Here the episode ends before that."""
    env = registry.make("InvertedPendulum-v5", Variant(gain=1e6))
    for seed in range(4):
        env.reset(seed=seed)
        with pytest.raises(TelosError, match=r"environment: given a diverged simulation \(mjWARN_BADQVEL\)"):
            env.step(np.ones(1))
    env.close()


# --- where an episode may begin -----------------------------------------------------------------------------

(CALM,) = build([{"kind": "joint_velocity", "name": "calm", "joint": "slider", "limit": 5.0, "unit": "m/s"}])
(FORCE,) = build([{"kind": "actuator_force", "name": "force", "actuator": "slide", "limit": 1e3, "unit": "N"}])
FAR = {"shape": "sphere", "center": [100.0, 100.0, 100.0], "radius": 1.0}
(PLACE,) = build([{"kind": "keep_out", "name": "away", "point": "body_position/pole", "zone": FAR}])
AWAY = replace(PLACE, signals=at_states("qvel"))  # as a guardrail of another package may do


@pytest.mark.parametrize("rules", [[CALM], [FORCE], [AWAY], [AWAY, FORCE], [PLACE]])
def test_no_episode_begins_where_mujoco_cannot_go_on(rules: list[Guardrail]) -> None:
    """Naive: judge the result of a forward pass. It restores the default pose, which keeps every rule."""
    env = registry.make("InvertedDoublePendulum-v5")
    monitor = Monitor(env.task, env.interface, Guardrails(rules))
    free = Monitor(env.task, env.interface, build([]))
    env.reset(seed=0)
    start = env.snapshot()

    def moved(part: mujoco.mjtState, value: float) -> Snapshot:
        state = start.state.copy()
        state[columns(env.model, part).start] = value
        return Snapshot(state, start.params)

    qpos, qvel = mujoco.mjtState.mjSTATE_QPOS, mujoco.mjtState.mjSTATE_QVEL
    for value in (1e12, -1e12, np.nan, np.inf, -np.inf):
        for wild in (moved(qpos, value), moved(qvel, value)):
            assert not monitor.judge_reset(wild)
            assert monitor.judge_reset(start), "nothing stays behind"
            assert free.judge_reset(wild), "without a rule, nothing is asked"
    assert monitor.judge_reset(moved(qvel, 1e9)) == (CALM not in rules), "MuJoCo can go on from there: the rules decide"
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
    """finger-spin's reset writes the hinge's damping; this must not reveal the real variant to the planner."""
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


@pytest.mark.parametrize("task", ["dm_control/pendulum-swingup-v0", "Reacher-v5"])
def test_the_time_limit_is_the_environments_own(task: str) -> None:
    """Naive: leave it to dm_control, whose next step after the limit starts another episode."""
    env = registry.make(task)
    env.reset(seed=0)
    limit = env.interface.frame_limit
    ends = [env.step(np.zeros(env.interface.action_size))[3] for _ in range(limit + 2)]
    assert ends == [False] * (limit - 1) + [True] * 3
    assert env.snapshot().time == pytest.approx((limit + 2) * env.interface.control_period)
    env.close()


def test_a_pose_at_rest_is_one_that_stays() -> None:
    """The wrist is pressed beyond its stop by speed; at rest, the spring of the stop would push it back."""
    env = registry.make("dm_control/reacher-easy-v0")
    env.reset(seed=0)
    low, high = env.model.jnt_range[1]
    env.backend.data.qpos[:] = [9.0, high + 0.13]
    env.backend.data.qvel[:] = [1.0, 6.0]
    observation, _ = env.still()
    assert observation["position"].tolist() == [9.0, high]  # the shoulder turns freely
    assert not observation["velocity"].any()
    env.backend.data.qpos[1] = (low + high) / 3
    assert env.still()[0]["position"][1] == (low + high) / 3
    env.close()
