"""Signals against MjData stepped by hand. Each test shows first that the obvious reading is wrong."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from envs import registry
from envs.errors import TelosError
from envs.guardrails import build, distances
from envs.physics import signals
from envs.physics.batch import INTEGRATION, BatchPhysics
from envs.requests import Request
from envs.task import TaskParams, at_states, in_steps

PERIOD, SUBSTEPS, HORIZON = 0.02, 4, 6

# A cart that falls onto a floor and bumps into a ball; a geared motor, and one with an activation.
MODEL = """
<mujoco>
  <option timestep="0.005" integrator="{integrator}"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 1"/>
    <body name="cart" pos="0 0 .11">
      <joint name="x" type="slide" axis="1 0 0" damping=".1"/>
      <joint name="z" type="slide" axis="0 0 1"/>
      <geom name="cart" type="box" size=".1 .1 .1" mass="1"/>
      <site name="bumper" type="box" size=".2 .2 .2"/>
      <body name="pole">
        <joint name="hinge" type="hinge" axis="0 1 0"/>
        <geom name="pole" type="capsule" fromto="0 0 .1 -.3 0 .2"
              size=".02" mass=".2" contype="0" conaffinity="0"/>
        <site name="tip" pos="-.3 0 .2"/>
      </body>
    </body>
    <body name="ball" pos=".215 0 .11">
      <freejoint name="ball"/>
      <geom name="ball" size=".1" mass=".5"/>
    </body>
  </worldbody>
  <actuator>
    <motor name="push" joint="x" gear="10"/>
    <general name="turn" joint="hinge" dyntype="filter" dynprm=".05" gainprm="2"/>
  </actuator>
  <sensor>
    <touch name="touch" site="bumper"/>
    <accelerometer name="accel" site="tip"/>
  </sensor>
</mujoco>
"""
INTEGRATORS = ["Euler", "RK4", "implicitfast"]


def _physics(requests: tuple[Request, ...], integrator: str = "Euler") -> BatchPhysics:
    return BatchPhysics(
        lambda: mujoco.MjSpec.from_string(MODEL.format(integrator=integrator)), requests, PERIOD, threads=1
    )


def _start(model: mujoco.MjModel) -> np.ndarray:
    data = mujoco.MjData(model)
    data.qvel[:3] = 0.5, -0.5, 2.0
    return _state(model, data)


def _state(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    state = np.empty(mujoco.mj_stateSize(model, INTEGRATION))
    mujoco.mj_getState(model, data, state, INTEGRATION)
    return state


def _controls(number: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (number, HORIZON, 2))


def _by_hand(model, start, controls, read, restore=mujoco.mj_forward) -> tuple[np.ndarray, np.ndarray]:
    """`read(data)` after every `mj_step`, (H*K,…), and at every control step's state, (H+1,…)."""
    data, fresh = mujoco.MjData(model), mujoco.MjData(model)
    mujoco.mj_setState(model, data, start, INTEGRATION)
    lagged, states = [], [data]

    def aligned():
        mujoco.mj_setState(model, fresh, _state(model, data), INTEGRATION)
        restore(model, fresh)
        return np.array(read(fresh))

    states = [aligned()]
    for control in controls:
        data.ctrl[:] = control
        for _ in range(SUBSTEPS):
            mujoco.mj_step(model, data)
            lagged.append(np.array(read(data)))
        states.append(aligned())
    return np.array(lagged), np.array(states)


def _velocity(model, data, kind, name):
    velocity = np.zeros(6)
    mujoco.mj_objectVelocity(model, data, kind, getattr(model, name[0])(name[1]).id, velocity, 0)
    return velocity


READERS = {
    "body_position/pole": lambda m, d: d.body("pole").xpos,
    "body_quaternion/pole": lambda m, d: d.body("pole").xquat,
    "body_x_axis/pole": lambda m, d: d.body("pole").xmat.reshape(3, 3)[:, 0],
    "body_z_axis/pole": lambda m, d: d.body("pole").xmat.reshape(3, 3)[:, 2],
    "inertial_position/pole": lambda m, d: d.body("pole").xipos,
    "center_of_mass/cart": lambda m, d: d.body("cart").subtree_com,
    "site_position/tip": lambda m, d: d.site("tip").xpos,
    "geom_position/pole": lambda m, d: d.geom("pole").xpos,
    "geom_x_axis/pole": lambda m, d: d.geom("pole").xmat.reshape(3, 3)[:, 0],
    "joint_position/hinge": lambda m, d: d.joint("hinge").qpos,
    "joint_velocity/hinge": lambda m, d: d.joint("hinge").qvel,
    "actuator_velocity/push": lambda m, d: d.actuator("push").velocity,
    "body_velocity/pole": lambda m, d: _velocity(m, d, mujoco.mjtObj.mjOBJ_XBODY, ("body", "pole"))[3:],
    "body_angular_velocity/pole": lambda m, d: _velocity(m, d, mujoco.mjtObj.mjOBJ_XBODY, ("body", "pole"))[:3],
    "site_velocity/tip": lambda m, d: _velocity(m, d, mujoco.mjtObj.mjOBJ_SITE, ("site", "tip"))[3:],
}
# `mj_step` updates these last, so they are right when read after it.
FRESH_ANYWAY = {"joint_position/hinge", "joint_velocity/hinge"}


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_state_signals_are_aligned_with_the_state(integrator):
    """Naive: the MjData field as recorded after each `mj_step`, which lags (RK4: an intermediate state)."""
    physics = _physics(at_states(*READERS), integrator)
    start, controls = _start(physics.model), _controls()
    recording = physics.rollout(start, controls)
    assert recording.valid.all()
    for name, read in READERS.items():
        ours = recording.signals.state[name].numpy()
        assert ours.shape[:2] == (3, HORIZON + 1)
        naive_error = 0.0
        for n in range(3):
            lagged, correct = _by_hand(physics.model, start, controls[n], lambda d: read(physics.model, d))  # noqa: B023
            assert_allclose(ours[n], correct, atol=1e-10, err_msg=name)
            naive_error = max(naive_error, np.abs(lagged[SUBSTEPS - 1 :: SUBSTEPS] - correct[1:]).max())
        assert (naive_error > 1e-4) == (name not in FRESH_ANYWAY), name


def test_under_rk4_a_recorded_field_is_neither_the_old_state_nor_the_new():
    """Naive: shift the recorded xpos by one substep, which mends Euler but not RK4."""
    name, read = "body_position/pole", READERS["body_position/pole"]
    for integrator, shift_mends_it in (("Euler", True), ("RK4", False)):
        physics = _physics(in_steps(name), integrator)
        start, controls = _start(physics.model), _controls(1)
        lagged, states = _by_hand(physics.model, start, controls[0], lambda d: read(physics.model, d))  # noqa: B023
        error = np.abs(lagged[SUBSTEPS::SUBSTEPS] - states[1:-1]).max()
        assert (error < 1e-12) == shift_mends_it
        ours = physics.rollout(start, controls).signals.last(name).numpy()[0]
        assert_allclose(ours, states[1:], atol=1e-12)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_the_terminal_state_is_judged(integrator):
    """Naive: keep H records for H steps. The plan's last state would never be judged."""
    name = "geom_distance/cart/floor"
    physics = _physics(at_states(name, "qpos"), integrator)
    start = _start(physics.model)
    start[1 + 1] = 0.2  # falls all the time, the lowest at the end
    start[1 + 3] = 3.0  # the ball is out of the way
    start[1 + physics.model.nq + 1] = 0.0
    recording = physics.rollout(start, np.zeros((1, HORIZON, 2)), states=True)
    distance = recording.signals.state[name][0, :, 0].numpy()
    assert distance.shape == (HORIZON + 1,)
    assert distance.argmin() == HORIZON
    naive = distance[:HORIZON].min()
    assert naive > distance.min() + 0.01
    assert_array_equal(recording.signals.state["qpos"][0, -1], recording.states[0, -1, 1 : 1 + physics.model.nq])
    assert_array_equal(recording.states[0, -1], recording.final[0])


FORCES = ("sensor/touch", "sensor/accel", "contact_force/cart", "actuator_force/push", "actuator_force/turn")


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_forces_belong_to_the_substep_they_act_in(integrator):
    """Naive: recompute the force at the state after the step (`mj_forward`). That force never acted."""
    physics = _physics(in_steps(*FORCES), integrator)
    start, controls = _start(physics.model), _controls()
    recording = physics.rollout(start, controls)
    for name in FORCES:
        sensor = name.removeprefix("sensor/") if name.startswith("sensor/") else f"telos/{name}"
        ours = recording.signals.interval[name].numpy()
        assert ours.shape[:3] == (3, HORIZON, SUBSTEPS)
        naive_error = 0.0
        for n in range(3):
            read = lambda data: data.sensor(sensor).data  # noqa: B023, E731
            correct, after = _by_hand(physics.model, start, controls[n], read)
            assert_allclose(ours[n].reshape(correct.shape), correct, atol=1e-9, err_msg=name)
            assert_array_equal(recording.signals.last(name)[n], ours[n][:, -1])
            naive_error = max(naive_error, np.abs(after[1:] - correct[SUBSTEPS - 1 :: SUBSTEPS]).max())
        # A motor without dynamics has the same force throughout the step.
        assert (naive_error > 1e-3) == (name != "actuator_force/push"), name


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize(
    "name", ["body_position/pole", "center_of_mass_velocity/cart", "geom_distance/cart/ball", "qvel"]
)
def test_the_last_substep_of_an_interval_is_the_state_after_the_step(name, integrator):
    """Naive: take the record of that substep. It has the value before the substep."""
    physics = _physics((*at_states(name), *in_steps(name)), integrator)
    start, controls = _start(physics.model), _controls()
    found = physics.rollout(start, controls).signals
    assert found.interval[name].shape[:3] == (3, HORIZON, SUBSTEPS)
    assert_array_equal(found.last(name), found.after(name))
    naive = found.interval[name][:, :, -2]  # the value before the last substep
    assert (naive - found.after(name)).abs().max() > 1e-4


def test_power_is_force_times_the_velocity_of_the_actuator():
    """Naive: multiply force and joint velocity. This ignores the gear."""
    names = ("actuator_power/push", "actuator_power/turn")
    physics = _physics(in_steps(*names))
    start, controls = _start(physics.model), _controls(1)
    found = physics.rollout(start, controls).signals
    for i, name in enumerate(names):
        data = mujoco.MjData(physics.model)
        mujoco.mj_setState(physics.model, data, start, INTEGRATION)
        correct, naive = [], []
        for control in controls[0]:
            data.ctrl[:] = control
            for _ in range(SUBSTEPS):
                before = float(data.qvel[[0, 2][i]])
                mujoco.mj_step(physics.model, data)
                correct.append(float(data.actuator_force[i] * data.actuator_velocity[i]))
                naive.append(float(data.actuator_force[i]) * before)
        assert_allclose(found.interval[name].ravel(), correct, atol=1e-12)
        assert np.allclose(naive, correct) == (name == "actuator_power/turn")


def test_contact_force_is_the_sum_over_contacts_in_the_world_frame_on_that_body():
    """Naive: sum `mj_contactForce` in the contact frame, or with the other body's sign."""
    physics = _physics(in_steps("contact_force/cart", "contact_force/ball", "contact_force/world"))
    model, data = physics.model, mujoco.MjData(physics.model)
    start, controls = _start(model), _controls(1)
    found = physics.rollout(start, controls).signals
    mujoco.mj_setState(model, data, start, INTEGRATION)
    correct, naive = {b: [] for b in ("cart", "ball", "world")}, []
    for control in controls[0]:
        data.ctrl[:] = control
        for _ in range(SUBSTEPS):
            mujoco.mj_step(model, data)
            total = np.zeros((model.nbody, 3))
            plain, force = np.zeros(3), np.zeros(6)
            for i in range(data.ncon):
                mujoco.mj_contactForce(model, data, i, force)
                world = data.contact.frame[i].reshape(3, 3).T @ force[:3]
                first, second = model.geom_bodyid[data.contact.geom[i]]
                total[second] += world  # acts on the second geom, and back on the first
                total[first] -= world
                plain += force[:3] * (1 if second == 1 else -1) * (1 in (first, second))
            for body, values in correct.items():
                values.append(total[model.body(body).id].copy())
            naive.append(plain)
    for body, values in correct.items():
        assert_allclose(found.interval[f"contact_force/{body}"].reshape(-1, 3), values, atol=1e-9)
    cart = np.array(correct["cart"])
    assert cart[:, 2].max() > 1  # the floor pushes the cart up
    assert np.abs(cart[:, 0]).max() > 1  # and the ball pushes it sideways
    assert np.abs(naive - cart).max() > 1


def test_geom_distance_is_the_distance_of_surfaces():
    """Naive: take the distance of the centres."""
    names = ("geom_distance/cart/ball", "geom_distance/ball/floor")
    physics = _physics(at_states(*names, "geom_position/cart", "geom_position/ball"))
    model, start, controls = physics.model, _start(physics.model), _controls(1)
    found = physics.rollout(start, controls).signals
    for name in names:
        one, two = (model.geom(g).id for g in name.split("/")[1:])
        _, correct = _by_hand(
            model,
            start,
            controls[0],
            lambda d: mujoco.mj_geomDistance(model, d, one, two, 10.0, None),  # noqa: B023
        )
        assert_allclose(found.state[name][0, :, 0], correct, atol=1e-10)
    naive = (found.state["geom_position/cart"] - found.state["geom_position/ball"]).norm(dim=-1)
    assert (naive - found.state[names[0]][..., 0]).abs().min() > 0.1


def test_a_distance_beyond_the_cutoff_reads_as_the_cutoff():
    physics = _physics(at_states("geom_distance/cart/ball"))
    start = _start(physics.model)
    start[1 + 3] = 50.0  # the ball's x
    found = physics.rollout(start, np.zeros((1, 1, 2))).signals
    assert_array_equal(found.state["geom_distance/cart/ball"].ravel(), signals.GEOM_DISTANCE_CUTOFF)


def test_a_minimum_that_no_distance_exceeds_is_refused():
    """Naive: take it as given. At the cutoff and above, every state would be unsafe, however far apart they are."""
    rule = {"kind": "geom_distance", "name": "apart", "geoms": ["cart", "ball"]}
    cutoff = signals.GEOM_DISTANCE_CUTOFF
    assert cutoff == distances.CUTOFF
    for minimum in (cutoff, np.nextafter(cutoff, np.inf), 50.0):
        with pytest.raises(TelosError, match=r"guardrails\[0\]\.minimum: given .*; allowed: less than 10"):
            build([{**rule, "minimum": float(minimum)}])
    rules = build([{**rule, "minimum": float(np.nextafter(cutoff, 0.0))}])
    physics = _physics(rules.requests)
    start = _start(physics.model)
    start[1 + 3] = 50.0  # the ball's x
    margin = rules.margins(physics.rollout(start, np.zeros((1, 1, 2))).signals)
    assert not rules.violated(margin).any()


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_center_of_mass_velocity_and_angular_momentum(integrator):
    """Naive: read `MjData.subtree_linvel` after `mj_step`. It is zero, because no sensor needed it."""
    names = ("center_of_mass_velocity/cart", "angular_momentum/cart")
    physics = _physics(at_states(*names), integrator)
    start, controls = _start(physics.model), _controls(1)
    found = physics.rollout(start, controls).signals
    plain = mujoco.MjModel.from_xml_string(MODEL.format(integrator=integrator))

    def restore(model, data):
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)

    for name, field in zip(names, ("subtree_linvel", "subtree_angmom"), strict=True):
        read = lambda d: getattr(d.body("cart"), field)  # noqa: B023, E731
        naive, correct = _by_hand(plain, start, controls[0], read, restore)
        assert_allclose(found.state[name][0], correct, atol=1e-10)
        assert_array_equal(naive, 0)
        assert np.abs(correct).max() > 1e-3


def test_cfrc_ext_of_a_batch_is_not_what_gymnasium_reads():
    """Naive: record it. It is zero unless a sensor needs it, and then RK4 leaves the value of another stage."""
    for integrator, sensor, zero in (("Euler", "velocimeter", True), ("RK4", "accelerometer", False)):
        xml = MODEL.format(integrator=integrator).replace("accelerometer", sensor)
        physics = BatchPhysics(
            lambda: mujoco.MjSpec.from_string(xml),  # noqa: B023
            (*at_states("raw/cfrc_ext"), *in_steps("contact_force/cart")),
            PERIOD,
        )
        model = physics.model
        physics.set_params(TaskParams(stale={"cfrc_ext": np.zeros((model.nbody, 6))}))
        start, controls = _start(model), _controls(1)
        found = physics.rollout(start, controls).signals
        naive = found.after("raw/cfrc_ext")[0].numpy()
        assert (naive == 0).all() == zero
        assert found.interval["contact_force/cart"].abs().max() > 1

        data = mujoco.MjData(model)
        mujoco.mj_setState(model, data, start, INTEGRATION)
        correct = []
        for control in controls[0]:
            data.ctrl[:] = control
            mujoco.mj_step(model, data, nstep=SUBSTEPS)
            mujoco.mj_rnePostConstraint(model, data)
            correct.append(data.cfrc_ext.ravel().copy())
        assert np.abs(naive - correct).max() > 1


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("body_positon/cart", "body_position"),
        ("body_position/carts", "cart"),
        ("joint_velocity/hing", "hinge"),
        ("sensor/tuch", "touch"),
        ("geom_distance/cart/bal", "ball"),
        ("raw/xpso", "xpos"),
    ],
)
def test_an_unknown_name_gives_the_nearest_match(name, nearest):
    with pytest.raises(TelosError) as raised:
        _physics(at_states(name))
    assert raised.value.nearest == nearest
    assert name in str(raised.value)


@pytest.mark.parametrize("name", ["geom_distance/cart", "geom_distance/cart/ball/floor", "qpos/cart", "body_position"])
def test_a_name_with_the_wrong_number_of_objects_is_refused(name):
    with pytest.raises(TelosError):
        _physics(at_states(name))


@pytest.mark.parametrize("name", ["joint_position/ball", "joint_velocity/ball"])
def test_a_free_joint_has_no_single_position(name):
    with pytest.raises(TelosError, match="ball"):
        _physics(at_states(name))


@pytest.mark.parametrize(
    "name", ["actuator_force/push", "actuator_power/push", "contact_force/cart", "ctrl", "sensor/touch"]
)
def test_a_force_at_a_state_is_refused(name):
    with pytest.raises(TelosError):
        _physics((Request(name, "state"),))
    _physics(in_steps(name))  # inside the steps it exists


@pytest.mark.parametrize(
    "task_id", ["dm_control/cartpole-swingup-v0", "dm_control/walker-walk-v0", "dm_control/quadruped-walk-v0"]
)
def test_every_listed_signal_can_be_read(task_id):
    task = registry.load(task_id)
    model = task.spec().compile()
    listed = signals.available(task.spec())
    assert {
        "qpos",
        "qvel",
        "body_position/torso" if "cartpole" not in task_id else "body_position/cart",
    } <= listed.keys()
    assert all(listed.values())
    geoms = [model.geom(i).name for i in range(model.ngeom) if model.geom(i).name]
    sites = [model.site(i).name for i in range(model.nsite) if model.site(i).name]
    assert {f"zone_distance/{site}/POINT" for site in sites} <= listed.keys()
    shaped = (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_BOX)
    odd = {f"zone_distance/{site}/POINT" for site in sites if model.site(site).type[0] not in shaped}
    names = [name.replace("GEOM/GEOM", f"{geoms[0]}/{geoms[-1]}") for name in listed if name not in odd]
    names = [name.replace("/POINT", f"/geom_position/{geoms[0]}") for name in names]

    def at_a_state(name: str) -> bool:
        kind, _, item = name.partition("/")
        if kind == "sensor":
            return model.sensor(item).needstage[0] != mujoco.mjtStage.mjSTAGE_ACC
        return not signals.KINDS[kind].force

    states = at_states(*(name for name in names if at_a_state(name)))
    period = 2 * model.opt.timestep
    physics = BatchPhysics(task.spec, (*states, *in_steps(*names)), period, threads=1)
    start = _state(physics.model, mujoco.MjData(physics.model))
    recording = physics.rollout(start, np.zeros((2, 3, model.nu)))
    found = recording.signals
    assert recording.valid.all()
    assert found.state.keys() == {request.name for request in states}
    assert found.interval.keys() == set(names)
    for name, values in found.state.items():
        assert values.shape[:2] == (2, 4), name
        assert values.isfinite().all(), name
    for name, values in found.interval.items():
        assert values.shape[:3] == (2, 3, 2), name
        assert values.isfinite().all(), name


def test_what_squeezes_a_body_shows_in_its_strongest_contact_alone():
    """Naive: take the net force, in which two jaws cancel out."""
    jaw = (
        '<body name="{0}" pos="{1} 0 0"><joint name="{0}" type="slide" axis="1 0 0"/><geom size=".1" mass="1"/></body>'
    )
    model = f"""
    <mujoco><option gravity="0 0 0" timestep=".002"/>
      <worldbody>
        {jaw.format("left", -0.2)}{jaw.format("right", 0.2)}
        <body name="egg"><joint type="slide" axis="1 0 0"/><geom size=".1" mass=".1"/></body>
      </worldbody>
      <actuator><motor joint="left"/><motor joint="right"/></actuator>
    </mujoco>"""
    names = ("contact_force/egg", "strongest_contact/egg")
    physics = BatchPhysics(lambda: mujoco.MjSpec.from_string(model), in_steps(*names), 0.002, threads=1)
    start = _state(physics.model, mujoco.MjData(physics.model))
    controls = np.tile([200.0, -200.0], (1, 300, 1))
    net, strongest = (physics.rollout(start, controls).signals.last(name)[0, -1].norm() for name in names)
    assert net < 1.0
    assert strongest == pytest.approx(200.0, rel=0.05)


UNREAD = """
<mujoco>
  <worldbody>
    <body name="cart"><joint name="x" type="slide" axis="1 0 0"/><geom size=".1" mass="1"/></body>
  </worldbody>
  <actuator><motor joint="x" gear="1"/></actuator>
  <sensor>
    <jointpos name="read" joint="x"/>
    <jointvel joint="x"/>
    <subtreecom name="unread" body="cart"/>
    <jointpos name="remembers" joint="x" delay="0.004" nsample="3"/>
  </sensor>
</mujoco>
"""


def test_sensors_that_nobody_reads_are_not_computed() -> None:
    requests = at_states("sensor/read", "body_position/cart")
    physics = BatchPhysics(lambda: mujoco.MjSpec.from_string(UNREAD), requests, 0.002, threads=1)
    names = [physics.model.sensor(index).name for index in range(physics.model.nsensor)]
    assert names == ["read", "remembers", "telos/body_position/cart"]
    whole = mujoco.MjModel.from_xml_string(UNREAD)
    assert physics.state_size == mujoco.mj_stateSize(whole, mujoco.mjtState.mjSTATE_INTEGRATION)


@pytest.mark.parametrize("task_id", ["dm_control/humanoid-run-v0", "dm_control/quadruped-walk-v0"])
def test_what_nobody_reads_changes_no_future(task_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = registry.make(task_id)
    env.reset(seed=0)
    start, requests = env.snapshot(), env.task.requests
    found = []
    for _ in range(2):
        physics = BatchPhysics(env.task.spec, requests, env.interface.control_period, threads=1)
        controls = np.random.default_rng(0).uniform(-1, 1, (4, 20, physics.model.nu))
        found.append((physics.model.nsensor, physics.rollout(start.state, controls, states=True)))
        monkeypatch.setattr(signals, "drop_unread", lambda spec, read: None)
    env.close()
    (few, one), (all_, other) = found
    assert few < all_
    assert torch.equal(one.states, other.states)
    assert all(torch.equal(one.signals.state[name], other.signals.state[name]) for name in one.signals.state)
