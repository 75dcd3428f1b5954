"""The state estimator: its accuracy, its baselines, and that it never reads the true state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from agent import build
from agent.config.config import Config
from agent.perception.estimator import StateEstimator
from agent.rollouts import episode
from envs import registry
from envs.environment import Environment
from envs.percept import Percept, instruction
from envs.physics.variants import Variant
from envs.task import Snapshot, Task
from worldmodels.belief import Belief

CARTPOLE, CHEETAH = "dm_control/cartpole-swingup-v0", "dm_control/cheetah-run-v0"
REACHER, WALKER = "dm_control/reacher-easy-v0", "dm_control/walker-walk-v0"
TASKS = (CARTPOLE, CHEETAH, REACHER, WALKER)
ROOT_X = {CHEETAH: "rootx", WALKER: "rootx"}  # no observation shows it
STEPS = 100
SEED = 11


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class Track:
    """Errors at the T+1 states of one episode; positions (T+1,nv) and velocities (T+1,nv)."""

    position: np.ndarray
    velocity: np.ndarray

    def rms(self) -> tuple[float, float]:
        return float(np.sqrt((self.position**2).mean())), float(np.sqrt((self.velocity**2).mean()))


def error(env: Environment, believed: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Position and velocity errors (2,nv) in tangent space, without whole turns and the unobservable root."""
    model = env.model
    nq, nv = model.nq, model.nv
    dq = np.empty(nv)
    mujoco.mj_differentiatePos(model, dq, 1.0, true[1 : 1 + nq], believed[1 : 1 + nq])
    for joint in range(model.njnt):
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE and not model.jnt_limited[joint]:
            dof = model.jnt_dofadr[joint]
            dq[dof] = (dq[dof] + np.pi) % (2 * np.pi) - np.pi
    if env.task.id in ROOT_X:
        dq[model.joint(ROOT_X[env.task.id]).dofadr[0]] = 0.0
    velocity = slice(1 + nq, 1 + nq + nv)
    return np.stack([dq, believed[velocity] - true[velocity]])


def state(belief: Belief) -> np.ndarray:
    assert belief.snapshot is not None
    return belief.snapshot.state


def follow(
    env: Environment, estimator: StateEstimator, act: Callable[[int], np.ndarray], seed: int = SEED
) -> tuple[Track, Track, Track]:
    """Errors of the estimate, of dead reckoning from the estimator's own start, and of differencing."""
    rng = np.random.default_rng([seed, 7])
    observation, _ = env.reset(seed=seed)
    told = instruction(env.snapshot().params)
    belief = estimator.reset(Percept(observation, None, told))
    reckoned = estimator._starts[0]
    true = env.snapshot().state
    noise = env.variant.observation_noise
    rows: list[list[np.ndarray]] = [[error(env, state(belief), true)], [error(env, reckoned, true)], []]
    for t in range(STEPS):
        action = act(t)
        observation, *_ = env.step(action)
        belief = estimator.update(Percept(observation, None, told), action)
        controls = env.interface.native(action)[None, None]
        reckoned = estimator._physics.rollout(reckoned[None], controls).final[0].copy()
        before, true = true, env.snapshot().state
        rows[0].append(error(env, state(belief), true))
        rows[1].append(error(env, reckoned, true))
        # Differencing gets every position, with the noise of an observation.
        moved = np.empty(env.model.nv)
        nq = env.model.nq
        mujoco.mj_differentiatePos(env.model, moved, env.interface.control_period, before[1 : 1 + nq], true[1 : 1 + nq])
        blur = rng.normal(0, noise, (2, env.model.nv)) if noise else np.zeros((2, env.model.nv))
        speed = moved + (blur[1] - blur[0]) / env.interface.control_period
        rows[2].append(np.stack([blur[1], speed - true[1 + nq : 1 + nq + env.model.nv]]))
    tracks = [np.stack(row) for row in rows]
    return Track(*tracks[0].swapaxes(0, 1)), Track(*tracks[1].swapaxes(0, 1)), Track(*tracks[2].swapaxes(0, 1))


def random_actions(env: Environment) -> Callable[[int], np.ndarray]:
    actions = np.random.default_rng(5).uniform(-1, 1, (STEPS, env.interface.action_size))
    return lambda t: actions[t]


@pytest.mark.parametrize("task", TASKS)
def test_without_noise_the_state_is_found(task: str) -> None:
    env = registry.make(task)
    estimator = StateEstimator(env.task, env.interface, threads=1)
    estimate, reckoned, _ = follow(env, estimator, random_actions(env))
    assert np.abs(estimate.position).max() < 1e-4  # m, rad
    assert np.abs(estimate.velocity).max() < 1e-4  # m/s, rad/s
    assert estimate.rms()[0] < 1e-2 * reckoned.rms()[0]
    assert estimate.rms()[1] < 1e-2 * reckoned.rms()[1]


@pytest.mark.parametrize("task", TASKS)
def test_noise_is_filtered(task: str) -> None:
    noise = 0.01
    env = registry.make(task, Variant(observation_noise=noise))
    estimator = StateEstimator(env.task, env.interface, observation_noise=noise, threads=1)
    estimate, reckoned, differenced = follow(env, estimator, random_actions(env))
    position, velocity = estimate.rms()
    assert position < 0.6 * noise  # better than the observed positions
    assert velocity < 1.0 * noise  # better than the observed velocities
    assert position < 0.2 * reckoned.rms()[0]
    assert velocity < 0.2 * reckoned.rms()[1]
    assert velocity < 0.05 * differenced.rms()[1]


class PositionsOnly:
    """A backend that hides dm_control's velocity observations."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def reset(self, seed: int) -> Any:
        return self._cut(self._inner.reset(seed))

    def step(self, action: np.ndarray) -> tuple[Any, float, bool]:
        observation, reward, terminated = self._inner.step(action)
        return self._cut(observation), reward, terminated

    def observe(self) -> Any:
        return self._cut(self._inner.observe())

    @staticmethod
    def _cut(observation: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in observation.items() if name != "velocity"}


def positions_only(task: str) -> Task:
    full = registry.load(task)
    return dataclasses.replace(full, backend=lambda: PositionsOnly(full.backend()))


@pytest.mark.parametrize("task", [CARTPOLE, CHEETAH])
def test_velocities_that_are_never_shown_are_found(task: str) -> None:
    noise = 0.01
    env = Environment(positions_only(task), Variant(observation_noise=noise))
    estimator = StateEstimator(env.task, env.interface, observation_noise=noise, threads=1)
    estimate, reckoned, differenced = follow(env, estimator, random_actions(env))
    position, velocity = (float(np.sqrt((x[20:] ** 2).mean())) for x in (estimate.position, estimate.velocity))
    assert position < noise
    limit = 0.1 if task == CARTPOLE else 0.5  # m/s, rad/s; from the 20th step on
    assert velocity < limit
    assert velocity < 0.3 * differenced.rms()[1]
    assert estimate.rms()[0] < 0.5 * reckoned.rms()[0]


@pytest.mark.parametrize("variant", [{"mass": 1.3}, {"latency": 1}])
def test_a_model_that_errs_does_not_lose_the_track(variant: dict[str, Any]) -> None:
    env = registry.make(CARTPOLE, Variant(observation_noise=0.01, **variant))
    estimator = StateEstimator(env.task, env.interface, observation_noise=0.01, threads=1)
    estimate, _, _ = follow(env, estimator, random_actions(env))
    assert np.abs(estimate.position).max() < 0.05
    assert estimate.rms()[1] < 0.05


@pytest.mark.parametrize("task", ["Ant-v5", "Pusher-v5"])
def test_what_an_environment_shows_late_does_not_mislead(task: str) -> None:
    """Gymnasium shows contact forces (Ant) and body positions (Pusher) of one substep ago."""
    env = registry.make(task)
    estimator = StateEstimator(env.task, env.interface, threads=1)
    assert 0 < (estimator._weight < 0.5 * estimator._weight.max()).sum() < len(estimator._weight)
    observation, _ = env.reset(seed=SEED)
    estimator.reset(Percept(observation, None))
    actions, errors = random_actions(env), []
    for t in range(20):
        observation, *_ = env.step(actions(t))
        belief = estimator.update(Percept(observation, None), actions(t))
        errors.append(error(env, state(belief), env.snapshot().state)[:, 2:])  # not Ant's root x, y
    assert np.abs(np.stack(errors)).max() < 1e-3


# --- inside an agent ----------------------------------------------------------------------------------


def config(task: str, noise: float = 0.0, evaluations: int = 16, horizon: int = 10, **more: Any) -> Config:
    return Config.model_validate(
        {
            "task": task,
            "variant": {"observation_noise": noise},
            "perception": {"kind": "estimated", "observation_noise": max(noise, 1e-3)},
            "planner": {"horizon": horizon, "budget": {"evaluations": evaluations}, "params": {"knots": 10}},
            "threads": 1,
            **more,
        }
    )


@pytest.mark.parametrize("task", TASKS)
def test_under_planned_actions(task: str) -> None:
    c = config(task)
    env = build.environment(c)
    agent = build.agent(c, env.task, env.interface)
    observation, _ = env.reset(seed=SEED)
    agent.reset(0)
    errors = []
    for _ in range(STEPS):
        true = env.snapshot()
        decision = agent.act(Percept(observation, None, instruction(true.params)))
        errors.append(error(env, decision.problem.start.simulated.state, true.state))
        observation, *_ = env.step(decision.action)
    assert np.abs(np.stack(errors)).max() < 1e-4


@pytest.mark.slow
def test_an_estimating_agent_swings_up_in_noise() -> None:
    c = config(CARTPOLE, 0.01, evaluations=64, horizon=50)
    env = build.environment(c)
    agent = build.agent(c, env.task, env.interface)
    assert not agent.perception.privileged
    upright: list[float] = []
    result = episode.run(
        agent,
        build.world(c, env),
        0,
        0,
        frames=200,
        watch=lambda _: upright.append(float(env.backend.data.body("pole_1").xmat[8])),
    )
    assert upright[0] < -0.9
    assert min(upright[-20:]) > 0.9  # it stays up
    assert result.total > 50


def test_what_gymnasium_reads_late_is_supplied() -> None:
    c = config("Pusher-v5")
    env = build.environment(c)
    agent = build.agent(c, env.task, env.interface)
    observation, _ = env.reset(seed=SEED)
    agent.reset(0)
    for _ in range(5):
        true = env.snapshot()
        decision = agent.act(Percept(observation, None, instruction(true.params)))
        stale = decision.problem.start.params.stale
        assert_allclose(stale["xpos"], true.params.stale["xpos"], atol=1e-3)
        observation, *_ = env.step(decision.action)


# --- without reading the true state ------------------------------------------------------------------


class Poison:
    """A snapshot that must not be touched."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"the estimator read snapshot.{name}")


def test_hidden_snapshots_change_nothing() -> None:
    env = registry.make(REACHER)
    beliefs = []
    wrong = Snapshot(np.full(99, 7.0), env.snapshot().params)
    for hidden in (None, Poison(), wrong):
        estimator = StateEstimator(env.task, env.interface, threads=1)
        observation, _ = env.reset(seed=SEED)
        told = instruction(env.snapshot().params)
        rows = [state(estimator.reset(Percept(observation, hidden, told)))]  # type: ignore[arg-type]
        for _ in range(5):
            observation, *_ = env.step(np.array([0.3, -0.5]))
            rows.append(state(estimator.update(Percept(observation, hidden, told), np.array([0.3, -0.5]))))  # type: ignore[arg-type]
        beliefs.append(np.stack(rows))
    assert_array_equal(beliefs[0], beliefs[1])
    assert_array_equal(beliefs[0], beliefs[2])


class Spy:
    """Forwards percepts to the estimator and records them."""

    def __init__(self, inner: StateEstimator) -> None:
        self.inner = inner
        self.privileged, self.gives_state = inner.privileged, inner.gives_state
        self.percepts: list[Percept] = []

    def reset(self, percept: Percept) -> Belief:
        self.percepts.append(percept)
        return self.inner.reset(percept)

    def update(self, percept: Percept, action: np.ndarray) -> Belief:
        self.percepts.append(percept)
        return self.inner.update(percept, action)


@pytest.mark.parametrize("task", [REACHER, "Pusher-v5"])
def test_the_episode_hands_out_no_state(task: str) -> None:
    c = config(task)
    env = build.environment(c)
    agent = build.agent(c, env.task, env.interface)
    assert isinstance(agent.perception, StateEstimator)
    spy = agent.perception = Spy(agent.perception)
    episode.run(agent, build.world(c, env), 0, 0, frames=3)
    assert len(spy.percepts) == 4  # three decisions, and the state after the last
    for percept in spy.percepts:
        assert percept.snapshot is None
        assert percept.params is not None
        assert not percept.params.stale
        assert set(percept.params.model) == set(env.task.params)


def test_same_reset_seed_as_the_world_is_no_accident() -> None:
    """The twin's starts differ from the world's starts under small seeds, which people use."""
    env = registry.make(REACHER)
    estimator = StateEstimator(env.task, env.interface, threads=1)
    starts = np.stack([start[1:3] for start in estimator._starts])
    for seed in range(20):
        env.reset(seed=seed)
        assert np.abs(starts - env.snapshot().state[1:3]).max(1).min() > 1e-6


def test_a_target_must_be_told() -> None:
    env = registry.make(REACHER)
    estimator = StateEstimator(env.task, env.interface, threads=1)
    observation, _ = env.reset(seed=SEED)
    with pytest.raises(ValueError, match="no instruction given, allowed: TaskParams with geom_pos"):
        estimator.reset(Percept(observation, None))
    estimator.reset(Percept(observation, None, instruction(env.snapshot().params)))


def test_the_instruction_of_each_episode_counts() -> None:
    env = registry.make(REACHER)
    estimator = StateEstimator(env.task, env.interface, threads=1)
    for seed in (1, 2):
        observation, _ = env.reset(seed=seed)
        true = env.snapshot()
        belief = estimator.reset(Percept(observation, None, instruction(true.params)))
        assert belief.snapshot is not None
        assert belief.snapshot.params.same_model(true.params)
        assert estimator._physics.params.same_model(true.params)  # the model that predicts
        assert_array_equal(estimator._twin.model.geom_pos, true.params.model["geom_pos"])  # and observes
        assert np.abs(error(env, state(belief), true.state)).max() < 1e-4


def test_beliefs_cannot_be_written() -> None:
    env = registry.make(CARTPOLE)
    estimator = StateEstimator(env.task, env.interface, threads=1)
    observation, _ = env.reset(seed=SEED)
    belief = estimator.reset(Percept(observation, None))
    with pytest.raises(ValueError, match="read-only"):
        state(belief)[1] = 0.0
