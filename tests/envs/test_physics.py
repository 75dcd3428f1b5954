"""Batched MuJoCo against MuJoCo stepped by hand: states, parameters, divergence, numerics, variants."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from envs import registry
from envs.environment import Environment
from envs.errors import TelosError
from envs.physics.batch import INTEGRATION, BatchPhysics, PhysicsOptions, columns
from envs.physics.variants import Variant
from envs.requests import Request
from envs.task import at_states, in_steps

QUADRUPED = "dm_control/quadruped-walk-v0"
CARTPOLE = "dm_control/cartpole-swingup-v0"

SLIDER = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body name="cart">
      <joint name="x" type="slide" axis="1 0 0"/>
      <geom size=".1" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="x" gear="1"/></actuator>
</mujoco>
"""


def _slider(requests: tuple[Request, ...] = at_states("body_position/cart"), period: float = 0.01) -> BatchPhysics:
    return BatchPhysics(lambda: mujoco.MjSpec.from_string(SLIDER), requests, period, threads=1)


def _start(model: mujoco.MjModel, qpos: float = 0.0, qvel: float = 0.0, time: float = 0.0) -> np.ndarray:
    data = mujoco.MjData(model)
    data.time, data.qpos[0], data.qvel[0] = time, qpos, qvel
    return _state(model, data)


def _state(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    state = np.empty(mujoco.mj_stateSize(model, INTEGRATION))
    mujoco.mj_getState(model, data, state, INTEGRATION)
    return state


def _same(one, other, index) -> None:
    """Assert that candidate `index` of `one` equals the only candidate of `other`, bit for bit."""
    assert_array_equal(one.states[index], other.states[0])
    for at in ("state", "interval"):
        for name, values in getattr(one.signals, at).items():
            assert_array_equal(values[index], getattr(other.signals, at)[name][0], err_msg=name)


# --- the state, and the parameters that a reset writes ---------------------------------------------


@pytest.fixture(scope="module")
def quadruped():
    """A moving quadruped, so that activations and contacts matter."""
    env = registry.make(QUADRUPED)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(40):
        env.step(rng.uniform(-1, 1, env.interface.action_size))
    yield env
    env.close()


def test_a_rollout_continues_the_environment_bitwise(quadruped: Environment):
    """Naive: restart from qpos and qvel (`nq + nv` numbers), or from all but the solver's warm start."""
    interface, snapshot = quadruped.interface, quadruped.snapshot()
    physics = BatchPhysics(quadruped.task.spec, (), interface.control_period)
    model, data = quadruped.model, mujoco.MjData(quadruped.model)
    assert model.na > 0
    assert physics.state_size > 1 + model.nq + model.nv
    actions = np.random.default_rng(1).uniform(-1, 1, (1, 10, interface.action_size))
    ours = physics.rollout(snapshot.state, interface.native(actions)).final[0].copy()

    def restart(spec: int) -> np.ndarray:
        kept = np.empty(mujoco.mj_stateSize(model, spec))
        mujoco.mj_extractState(model, snapshot.state, INTEGRATION, kept, spec)
        mujoco.mj_resetData(model, data)
        mujoco.mj_setState(model, data, kept, spec)
        for control in interface.native(actions[0]):
            data.ctrl[:] = control
            mujoco.mj_step(model, data, nstep=physics.substeps)
        return _state(model, data)

    kinds = mujoco.mjtState
    assert_array_equal(ours, restart(INTEGRATION))
    naive = restart(int(kinds.mjSTATE_TIME | kinds.mjSTATE_QPOS | kinds.mjSTATE_QVEL))
    assert np.abs(naive - ours)[: 1 + model.nq].max() > 1e-3  # activations are lost
    assert not np.array_equal(restart(int(kinds.mjSTATE_FULLPHYSICS)), ours)  # the warm start is lost

    for action in actions[0]:
        quadruped.step(action)
    assert_array_equal(quadruped.snapshot().state, ours)
    assert not snapshot.state.flags.writeable


def test_task_params_reach_the_batch():
    """Naive: edit the model after the batch was made; the batch holds a copy of it."""
    env = registry.make("dm_control/swimmer-swimmer6-v0")
    physics = BatchPhysics(env.task.spec, at_states("geom_position/target"), env.interface.control_period)
    controls = np.zeros((2, 1, env.interface.action_size))
    env.reset(seed=0)
    first = env.snapshot()
    physics.set_params(first.params)
    before = physics.rollout(first.state, controls).signals.after("geom_position/target")
    env.reset(seed=1)
    second = env.snapshot()
    correct = env.backend.data.geom("target").xpos

    for name, value in second.params.model.items():  # naive
        getattr(physics.model, name)[...] = value
    naive = physics.rollout(second.state, controls).signals.after("geom_position/target")
    assert_array_equal(naive, before)
    assert np.abs(naive[0, 0] - correct).max() > 0.01

    physics.set_params(second.params)
    ours = physics.rollout(second.state, controls).signals.after("geom_position/target")
    assert_allclose(ours[0, 0], correct)
    assert_allclose(ours[1, 0], correct)
    assert not second.params.same_model(first.params)
    env.close()


def test_a_snapshot_is_a_copy():
    env = registry.make("dm_control/swimmer-swimmer6-v0")
    env.reset(seed=0)
    snapshot = env.snapshot()
    state, target = snapshot.state.copy(), snapshot.params.model["geom_pos"].copy()
    env.step(np.ones(env.interface.action_size))
    env.reset(seed=1)
    assert_array_equal(snapshot.state, state)
    assert_array_equal(snapshot.params.model["geom_pos"], target)
    env.close()


@pytest.mark.parametrize("substeps", [1, 5])
def test_results_are_copies_and_buffers_are_reused(substeps: int):
    """Naive: hand out views of the buffers, which the next rollout overwrites, or of what the caller gave."""
    physics = _slider((*at_states("body_position/cart", "qpos"), *in_steps("ctrl", "qvel")), substeps * 0.01)
    assert physics.substeps == substeps
    controls = np.ones((2, 3, 1))
    one = physics.rollout(_start(physics.model), controls, states=True)
    controls[:] = 7.0
    assert_array_equal(one.signals.interval["ctrl"], np.ones((2, 3, substeps, 1)))
    kept = {name: values.clone() for name, values in {**one.signals.state, **one.signals.interval}.items()}
    states = one.states.clone()
    physics.rollout(_start(physics.model, qpos=5.0), -np.ones((2, 3, 1)), states=True)
    for name, values in kept.items():
        assert_array_equal({**one.signals.state, **one.signals.interval}[name], values)
    assert_array_equal(one.states, states)


def test_every_candidate_may_have_its_own_start():
    physics = _slider(at_states("joint_position/x"))
    starts = np.stack([_start(physics.model, qpos=value) for value in (0.0, 1.0, 2.0)])
    found = physics.rollout(starts, np.zeros((3, 2, 1)), states=True)
    assert_array_equal(found.signals.state["joint_position/x"][:, :, 0], [[0.0] * 3, [1.0] * 3, [2.0] * 3])
    assert_array_equal(found.states[:, 0], starts)


# --- diverged simulations look safe ----------------------------------------------------------------


def _lone(physics: BatchPhysics, start: np.ndarray, controls: np.ndarray):
    return physics.rollout(start, controls[None], states=True)


def test_a_simulation_that_stops_at_a_warning_is_invalid():
    """Naive: check that the result is finite. MuJoCo stopped, and repeats the last harmless record."""
    physics = _slider()
    start, controls = _start(physics.model), np.full((3, 8, 1), 0.1)
    controls[1, 3] = 1e12
    found = physics.rollout(start, controls, states=True)
    assert found.valid.tolist() == [True, False, True]
    assert found.states[1, :, :3].isfinite().all()  # naive: says it is well
    assert_array_equal(found.states[1, -1], found.states[1, -2])
    assert found.signals.state["body_position/cart"].abs().max() < 1  # and looks safe
    for index in (0, 2):
        _same(found, _lone(_slider(), start, controls[index]), index)


def test_a_warning_in_the_last_substep_is_seen():
    """Naive: compare only the clock. After a warning in the last substep, the clock is right."""
    physics = _slider(())
    controls = np.zeros((2, 4, 1))
    controls[1, 3] = 1e12
    found = physics.rollout(_start(physics.model), controls, states=True)
    assert_allclose(found.final[:, 0], 0.04)  # naive: says it is well
    assert found.valid.tolist() == [True, False]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e11])
@pytest.mark.parametrize("field", ["qpos", "qvel"])
def test_autoreset_is_invalid_however_often_it_happens(field, value):
    """Naive: check for finite states and for warning counters that rise.

    An autoreset restores the default pose and sets the counters to one, so from the second time on they do not rise.
    """
    physics = _slider()
    start = np.stack([_start(physics.model), _start(physics.model, **{field: value})])
    for _ in range(3):
        found = physics.rollout(start, np.zeros((2, 1, 1)), states=True)
        assert found.states[1, 1, :3].isfinite().all()  # naive: says it is well
        assert found.signals.state["body_position/cart"][1, 1].abs().max() == 0  # the default pose
        assert found.valid.tolist() == [True, False]


def test_counters_that_do_not_rise_hide_an_autoreset_from_the_naive():
    """The scenario of the test above occurs: after a reset, the counter is the same and the clock is right."""
    model = mujoco.MjModel.from_xml_string(SLIDER)
    batch = mujoco.batch.Batch(model, 1, 1)
    bad = _start(model, qpos=np.nan)
    counts, clocks = [], []
    for _ in range(2):
        batch.state[:] = bad
        batch.rollout(1, np.zeros((1, 1, 1)), record=["qpos"])
        counts.append(int(batch.warning[0, :, 1].sum()))
        clocks.append(float(batch.state[0, 0]))
    assert counts == [1, 1]
    assert clocks == [model.opt.timestep] * 2


def test_an_autoreset_shows_in_the_clock():
    """Naive: check for finite states. Only the clock of a reset simulation is wrong."""
    physics = _slider()
    start = np.stack([_start(physics.model, time=1.0), _start(physics.model, qvel=np.nan, time=1.0)])
    found = physics.rollout(start, np.zeros((2, 5, 1)), states=True)
    assert found.states[1, 1:, :3].isfinite().all()
    assert found.final[1, 0] < 1.0
    assert found.valid.tolist() == [True, False]


@pytest.mark.parametrize("requests", [(), at_states("body_position/cart")])
def test_a_terminal_state_that_mujoco_would_refuse_is_invalid(requests):
    """Naive: judge before the terminal state is evaluated. That evaluation restores the default pose."""
    physics = _slider(requests)
    start = _start(physics.model, qvel=0.9999e10)  # below MuJoCo's bound, 1e10
    controls = np.zeros((2, 1, 1))
    controls[1] = 0.9e10
    found = physics.rollout(start, controls, states=True)
    assert found.states[1].isfinite().all()  # naive: says it is well
    assert found.valid.tolist() == [True, False]


def _boxes(memory: str = "8K") -> mujoco.MjSpec:
    """Six boxes above a floor, in an arena too small for their contacts."""
    bodies = "".join(
        f'<body name="b{i}" pos="{i} 0 1"><freejoint/><geom type="box" size=".1 .1 .1" mass="1"/></body>'
        for i in range(6)
    )
    return mujoco.MjSpec.from_string(
        f'<mujoco><size memory="{memory}"/><worldbody><geom type="plane" size="9 9 1"/>{bodies}</worldbody></mujoco>'
    )


@pytest.mark.parametrize("requests", [(), (*at_states("body_position/b0"), *in_steps("contact_force/b0"))])
def test_a_simulation_that_raises_spoils_only_itself(requests):
    """Naive: let the error end the call (all candidates are lost), or use the state it left as the result."""
    physics = BatchPhysics(_boxes, requests, 0.004, threads=1)
    good = _state(physics.model, mujoco.MjData(physics.model))
    starts = np.stack([good, good, good])
    starts[1, 1 : 1 + physics.model.nq].reshape(-1, 7)[:, 2] = 0.05
    starts[2, 3] = 2.0
    controls = np.zeros((3, 3, 0))
    batch = mujoco.batch.Batch(physics.model, 3, 1)
    batch.state[:] = starts
    with pytest.raises(mujoco.batch.SimulationError):
        batch.rollout(6, None)
    assert np.isfinite(batch.state).all()  # naive: says it is well

    for _ in range(2):  # the first time there are no buffers yet
        found = physics.rollout(starts, controls, states=True)
        assert found.valid.tolist() == [True, False, True]
        for index in (0, 2):
            alone = BatchPhysics(_boxes, requests, 0.004, threads=1)
            _same(found, _lone(alone, starts[index], controls[index]), index)


def test_an_error_in_the_terminal_evaluation_is_seen():
    """Naive: expect errors only in steps. Here the steps succeed, but MuJoCo cannot evaluate their last state."""
    physics = BatchPhysics(_boxes, at_states("body_position/b0"), 0.002, threads=1)
    good = _state(physics.model, mujoco.MjData(physics.model))
    falling = good.copy()
    falling[1 : 1 + physics.model.nq].reshape(-1, 7)[:, 2] = 0.18  # beyond the bounding spheres
    falling[1 + physics.model.nq :][: physics.model.nv].reshape(-1, 6)[:, 2] = -15.0
    found = physics.rollout(np.stack([good, falling]), np.zeros((2, 1, 0)), states=True)
    assert_allclose(found.final[:, 0], 0.002)  # naive: says it is well
    assert found.valid.tolist() == [True, False]


@pytest.mark.parametrize("names", [("body_position/cart", "joint_velocity/x"), ("qpos", "qvel"), ()])
@pytest.mark.parametrize("part", ["qpos", "qvel", "warmstart", "ctrl"])
def test_a_look_at_a_state_that_mujoco_would_refuse_shows_nothing(names: tuple[str, ...], part: str):
    """Naive: read the result of the forward pass. It may have restored the default pose, which looks safe."""
    physics = _slider(at_states(*names))
    start = _start(physics.model, qpos=0.5, qvel=-0.5)
    expected = {name: -0.5 if name in ("joint_velocity/x", "qvel") else 0.5 for name in names}
    for value in (np.nan, np.inf, -np.inf, mujoco.mjMAXVAL, -1e12, 1e12):
        bad = start.copy()
        bad[columns(physics.model, getattr(mujoco.mjtState, f"mjSTATE_{part.upper()}"))] = value
        assert physics.look(bad) is None
        seen = physics.look(start)  # the bad state left no trace
        assert seen is not None
        assert {name: float(values[0, 1, 0]) for name, values in seen.state.items()} == expected


@pytest.mark.parametrize("memory", ["8K", "24K"])
def test_a_look_at_a_state_that_mujoco_cannot_evaluate_shows_nothing(memory: str):
    """Naive: let the error end the call (8K), or ignore a warning (24K: contacts were left out)."""
    physics = BatchPhysics(lambda: _boxes(memory), at_states("body_position/b0"), 0.004, threads=1)
    good = _state(physics.model, mujoco.MjData(physics.model))
    bad = good.copy()
    bad[1 : 1 + physics.model.nq].reshape(-1, 7)[:, 2] = 0.05
    for _ in range(2):
        assert physics.look(bad) is None
        assert physics.look(good) is not None


def test_valid_again_after_a_divergence():
    physics = _slider()
    start, controls = _start(physics.model), np.zeros((2, 3, 1))
    controls[0] = 1e12
    assert physics.rollout(start, controls).valid.tolist() == [False, True]
    assert physics.rollout(start, np.zeros((2, 3, 1))).valid.tolist() == [True, True]


# --- numerics --------------------------------------------------------------------------------------


def test_threads_do_not_change_the_result(quadruped: Environment):
    requests = (*quadruped.task.requests, *in_steps("contact_force/torso", "sensor/force_toe_front_left"))
    interface, snapshot = quadruped.interface, quadruped.snapshot()
    controls = interface.native(np.random.default_rng(2).uniform(-1, 1, (7, 4, interface.action_size)))
    found = [
        BatchPhysics(quadruped.task.spec, requests, interface.control_period, threads=threads).rollout(
            snapshot.state, controls, states=True
        )
        for threads in (1, 2, 5)
    ]
    alone = BatchPhysics(quadruped.task.spec, requests, interface.control_period)
    for other in found[1:]:
        for n in range(7):
            assert_array_equal(found[0].states[n], other.states[n])
        for name, values in found[0].signals.interval.items():
            assert_array_equal(values, other.signals.interval[name])
    for n in range(7):
        _same(found[0], _lone(alone, snapshot.state, controls[n]), n)


@pytest.mark.parametrize(
    "options",
    [
        PhysicsOptions(timestep=0.0025),
        PhysicsOptions(timestep=0.02),
        PhysicsOptions(integrator="Euler"),
        PhysicsOptions(integrator="implicit"),
        PhysicsOptions(integrator="implicitfast"),
        PhysicsOptions(timestep=0.005, integrator="RK4", solver="CG", iterations=5),
        PhysicsOptions(solver="PGS"),
        PhysicsOptions(disable_contacts=True),
    ],
)
def test_a_planning_model_may_have_other_numerics(options: PhysicsOptions):
    env = registry.make(CARTPOLE)
    env.reset(seed=0)
    period = 0.02
    nominal = BatchPhysics(env.task.spec, env.task.requests, period)
    physics = BatchPhysics(env.task.spec, env.task.requests, period, options)
    assert physics.substeps * physics.model.opt.timestep == pytest.approx(period)
    controls = np.random.default_rng(0).uniform(-1, 1, (3, 10, 1))
    ours = physics.rollout(env.snapshot().state, controls, states=True)
    real = nominal.rollout(env.snapshot().state, controls, states=True)
    assert ours.valid.all()
    assert_allclose(ours.states[:, :, 0], real.states[:, :, 0], atol=1e-9)  # one clock
    assert_allclose(ours.states[:, :, 1:5], real.states[:, :, 1:5], atol=0.2)  # nearly one motion
    changed = options.timestep is not None or options.integrator is not None
    assert changed != torch.equal(ours.states, real.states)  # and really other numerics
    env.close()


def test_options_reach_the_model():
    options = PhysicsOptions(0.005, "implicitfast", "CG", 7, 3, disable_contacts=True)
    spec = registry.load(CARTPOLE).spec
    opt = BatchPhysics(spec, (), 0.01, options).model.opt
    assert (opt.timestep, opt.iterations, opt.noslip_iterations) == (0.005, 7, 3)
    assert opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    assert opt.solver == mujoco.mjtSolver.mjSOL_CG
    assert opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CONTACT
    assert spec().compile().opt.timestep == 0.01


def test_disabled_contacts_let_things_fall_through():
    def lowest(options: PhysicsOptions) -> float:
        physics = BatchPhysics(ball, at_states("body_position/ball"), 0.05, options)
        start = _state(physics.model, mujoco.MjData(physics.model))
        return float(physics.rollout(start, np.zeros((1, 20, 0))).signals.state["body_position/ball"][..., 2].min())

    def ball() -> mujoco.MjSpec:
        return mujoco.MjSpec.from_string(
            '<mujoco><option timestep=".01"/><worldbody><geom type="plane" size="1 1 1"/>'
            '<body name="ball" pos="0 0 .2"><freejoint/><geom size=".1"/></body></worldbody></mujoco>'
        )

    assert lowest(PhysicsOptions()) > 0.05
    assert lowest(PhysicsOptions(disable_contacts=True)) < -1


@pytest.mark.parametrize("timestep", [0.003, 0.007, 0.04])
def test_a_time_step_that_does_not_divide_the_control_period_is_refused(timestep):
    with pytest.raises(TelosError, match="timestep"):
        BatchPhysics(registry.load(CARTPOLE).spec, (), 0.02, PhysicsOptions(timestep=timestep))


# --- variants of the real environment --------------------------------------------------------------


def _run(variant: Variant, actions: np.ndarray, task_id: str = CARTPOLE):
    """States (H+1,S), observations and rewards of the real environment."""
    env = registry.make(task_id, variant)
    observation, _ = env.reset(seed=3)
    states, observations, rewards = [env.snapshot().state], [observation], []
    for action in actions:
        observation, reward, *_ = env.step(action)
        states.append(env.snapshot().state)
        observations.append(observation)
        rewards.append(reward)
    env.close()
    return np.array(states), observations, np.array(rewards)


def _acceleration(variant: Variant, force: float) -> float:
    """The cart's acceleration when the pole hangs at rest and the motor pushes."""
    env = registry.make(CARTPOLE, variant)
    env.reset(seed=0)
    model, data = env.model, env.backend.data
    mujoco.mj_resetData(model, data)
    data.joint("hinge_1").qpos[0] = np.pi
    data.ctrl[0] = force
    mujoco.mj_forward(model, data)
    return float(data.joint("slider").qacc[0])


def test_mass_and_gain():
    nominal = _acceleration(Variant(), 0.5)
    assert _acceleration(Variant(mass=2.0), 0.5) == pytest.approx(nominal / 2, rel=1e-6)
    assert _acceleration(Variant(gain=2.0), 0.5) == pytest.approx(nominal * 2, rel=1e-6)
    assert _acceleration(Variant(mass=2.0, gain=2.0), 0.5) == pytest.approx(nominal, rel=1e-6)


def test_mass_reaches_what_the_task_measures_at_reset():
    env, heavy = registry.make(QUADRUPED), registry.make(QUADRUPED, Variant(mass=2.0))
    assert_allclose(heavy.model.body_subtreemass, 2 * env.model.body_subtreemass)
    assert_allclose(heavy.model.body_inertia, 2 * env.model.body_inertia)
    env.close()
    heavy.close()


def test_gain_of_a_servo_is_stiffness_and_damping():
    """Naive: scale only the gain. The servo then holds another position."""
    forces = []
    for gain in (1.0, 2.0):
        env = registry.make(QUADRUPED, Variant(gain=gain))
        env.reset(seed=0)
        model, data = env.model, env.backend.data
        data.qpos[7:] += 0.1
        data.qvel[6:] += 0.1
        data.act[:] = 0.3
        mujoco.mj_forward(model, data)
        forces.append(data.actuator_force.copy())
        env.close()
    assert np.abs(forces[0]).min() > 0
    assert_allclose(forces[1], 2 * forces[0])


def test_damping():
    speeds = []
    for damping in (1.0, 20.0):
        env = registry.make(QUADRUPED, Variant(damping=damping))
        env.reset(seed=0)
        model, data = env.model, env.backend.data
        data.qvel[6:] = 1.0
        mujoco.mj_forward(model, data)
        speeds.append(data.qfrc_damper[6:].copy())
        env.close()
    assert_allclose(speeds[1], 20 * speeds[0])
    assert speeds[0].max() < 0


def test_friction():
    """Friction slows a quadruped that lies and slides on the ground; on ice it does not."""
    speeds = []
    for friction in (1.0, 1e-3):
        env = registry.make(QUADRUPED, Variant(friction=friction))
        env.reset(seed=0)
        for _ in range(75):
            env.step(np.zeros(env.interface.action_size))
        data = env.backend.data
        data.qvel[:] = 0.0
        data.qvel[0] = 2.0
        for _ in range(25):
            env.step(np.zeros(env.interface.action_size))
        speeds.append(float(np.hypot(*data.qvel[:2])))
        env.close()
    assert speeds[0] < 0.5
    assert speeds[1] > 1.5


@pytest.mark.parametrize("latency", [1, 3])
def test_latency_delays_every_action(latency):
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 1))
    late = np.concatenate([np.zeros((latency, 1)), actions[:-latency]])
    states, _, rewards = _run(Variant(latency=latency), actions)
    expected, _, expected_rewards = _run(Variant(), late)
    assert_array_equal(states, expected)
    assert_array_equal(rewards, expected_rewards)
    assert np.abs(states - _run(Variant(), actions)[0]).max() > 1e-3  # naive: the variant has no effect


def test_latency_does_not_leak_into_the_next_episode():
    env = registry.make(CARTPOLE, Variant(latency=2))
    ends = []
    for _ in range(2):
        env.reset(seed=0)
        for _ in range(3):
            env.step(np.ones(1))
        ends.append(env.snapshot().state)
    assert_array_equal(*ends)
    env.close()


def test_observation_noise_touches_observations_only():
    actions = np.random.default_rng(0).uniform(-1, 1, (200, 1))
    states, observations, rewards = _run(Variant(), actions)
    noisy_states, noisy, noisy_rewards = _run(Variant(observation_noise=0.3), actions)
    assert_array_equal(noisy_states, states)
    assert_array_equal(noisy_rewards, rewards)
    noise = np.array([np.concatenate([a[k] - b[k] for k in b]) for a, b in zip(noisy, observations, strict=True)])
    assert np.abs(noise).min() > 0
    assert noise.std() == pytest.approx(0.3, rel=0.1)
    assert noise.mean() == pytest.approx(0.0, abs=0.04)
    again = _run(Variant(observation_noise=0.3), actions[:3])[1]
    assert_array_equal(again[-1]["position"], noisy[3]["position"])  # from the episode's seed


@pytest.mark.parametrize("field", ["mass", "friction", "gain", "damping"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
def test_a_factor_must_be_positive_and_finite(field, value):
    with pytest.raises(TelosError, match=field):
        Variant(**{field: value})


@pytest.mark.parametrize("arguments", [{"latency": -1}, {"observation_noise": -0.1}, {"observation_noise": np.nan}])
def test_latency_and_noise_must_not_be_negative(arguments):
    with pytest.raises(TelosError, match="variant"):
        Variant(**arguments)


def test_a_planning_model_can_be_given_the_same_variant():
    """`variant` makes imagination equal to a varied reality."""
    variant = Variant(mass=1.7, gain=0.8, damping=3.0)
    env = registry.make(CARTPOLE, variant)
    env.reset(seed=0)
    period = env.interface.control_period
    actions = np.random.default_rng(0).uniform(-1, 1, (1, 20, 1))
    start = env.snapshot().state
    nominal = BatchPhysics(env.task.spec, (), period).rollout(start, env.interface.native(actions), states=True)
    varied = BatchPhysics(env.task.spec, (), period, variant=variant)
    found = varied.rollout(start, env.interface.native(actions), states=True)
    for t, action in enumerate(actions[0]):
        env.step(action)
        assert_array_equal(env.snapshot().state, found.states[0, t + 1])
    assert (nominal.states - found.states).abs().max() > 1e-3
    env.close()
