"""Neutral and back-up controls have their documented effect on every type of actuator."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import pytest

from envs.backup import BackUp, Law
from envs.errors import TelosError
from envs.guard.controller import BackUpController, Neutral
from envs.physics.batch import INTEGRATION
from envs.task import Interface, TaskParams
from tests.envs.actuators import ACTUATORS, SERVOS, model_of

PERIOD = 0.02  # s


@dataclass(frozen=True)
class World:
    """One arm that turns upwards, driven by one actuator, under gravity."""

    model: mujoco.MjModel
    interface: Interface

    def moving(self, speed: float = 0.5) -> mujoco.MjData:
        """0.4 rad below the horizontal, falling."""
        data = mujoco.MjData(self.model)
        data.joint("turn").qpos[:] = 0.4
        data.joint("turn").qvel[:] = speed
        if self.model.na:
            data.act[0] = 0.4 if self.model.actuator_biasprm[0, 1] < 0 else 0.0
        mujoco.mj_forward(self.model, data)
        return data

    def angle_after(self, law: Neutral | BackUpController, seconds: float, speed: float = 0.5) -> tuple[float, float]:
        """Angle (rad) and speed (rad/s) after `law` has acted for `seconds`."""
        data = self.moving(speed)
        state = np.empty(mujoco.mj_stateSize(self.model, INTEGRATION))
        mujoco.mj_getState(self.model, data, state, INTEGRATION)
        begun = law.begin(state) if isinstance(law, BackUpController) else None
        for _ in range(round(seconds / PERIOD)):
            mujoco.mj_getState(self.model, data, state, INTEGRATION)
            action = law.action(state, TaskParams()) if begun is None else law.action(state, begun)
            assert np.abs(action).max() <= 1
            data.ctrl[:] = self.interface.native(action)
            mujoco.mj_step(self.model, data, nstep=round(PERIOD / self.model.opt.timestep))
        return float(data.joint("turn").qpos[0]), float(data.joint("turn").qvel[0])


def world(kind: str) -> World:
    model = model_of(kind)
    low, high = model.actuator_ctrlrange.T.copy()
    return World(model, Interface(PERIOD, low, high, 100))


def back_up(law: Law, gain: float | None = None) -> BackUp:
    posture = {"posture": (("turn", 0.0),), "within": 0.05} if law == "retreat" else {}
    return BackUp(seconds=1.0, rest_speed=0.05, gain=gain, law=law, **posture)


def controller(here: World, law: Law, gain: float | None = None) -> BackUpController:
    return BackUpController(back_up(law, gain), here.model, here.interface)


# --- neutral ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVOS)
def test_a_neutral_servo_stays_where_it_is(kind: str) -> None:
    here = world(kind)
    angle, speed = here.angle_after(Neutral(here.model, here.interface), 1.0, speed=0.0)
    assert abs(angle - 0.4) < 0.03, "not at its zero, and not sunk under gravity"
    assert abs(speed) < 0.05


@pytest.mark.parametrize("chart", ["expmap", "quat"])
def test_a_neutral_orientation_servo_keeps_its_orientation(chart: str) -> None:
    model = model_of("orientation", f'input="{chart}" ctrlrange="-4 4"')
    interface = Interface(PERIOD, *model.actuator_ctrlrange.T, 100)
    model.opt.gravity[:] = 0
    data, neutral = mujoco.MjData(model), Neutral(model, interface)
    data.joint("ball").qpos[:] = start = np.array([0.6, 0.0, 0.8, 0.0])
    state = np.empty(mujoco.mj_stateSize(model, INTEGRATION))
    for _ in range(50):
        mujoco.mj_getState(model, data, state, INTEGRATION)
        data.ctrl[:] = interface.native(neutral.action(state, TaskParams()))
        mujoco.mj_step(model, data, nstep=5)
    np.testing.assert_allclose(data.joint("ball").qpos, start, atol=1e-6)


@pytest.mark.parametrize("kind", ["motor", "dcmotor", "muscle", "filtered_motor"])
def test_a_neutral_motor_exerts_no_force(kind: str) -> None:
    here = world(kind)
    data = here.moving(speed=0.0)
    state = np.empty(mujoco.mj_stateSize(here.model, INTEGRATION))
    mujoco.mj_getState(here.model, data, state, INTEGRATION)
    action = Neutral(here.model, here.interface).action(state, TaskParams())
    np.testing.assert_allclose(here.interface.native(action), 0.0, atol=1e-12)


def test_what_adheres_goes_on_adhering() -> None:
    here = world("adhesion")
    data = here.moving()
    data.ctrl[0] = 0.7
    state = np.empty(mujoco.mj_stateSize(here.model, INTEGRATION))
    mujoco.mj_getState(here.model, data, state, INTEGRATION)
    native = here.interface.native(Neutral(here.model, here.interface).action(state, TaskParams()))
    np.testing.assert_allclose(native, 0.7)


# --- laws ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["gravity_brake", "hold", "retreat"])
@pytest.mark.parametrize("kind", [*SERVOS, "motor", "filtered_motor", "velocity", "geared_motor", "reversed_motor"])
def test_a_law_that_knows_gravity_stops_and_stays(kind: str, law: Law) -> None:
    here = world(kind)
    angle, speed = here.angle_after(controller(here, law), 3.0)
    assert abs(speed) < 0.05
    goal = {"hold": 0.4, "retreat": 0.0}.get(law)
    if goal is None:
        assert 0.3 < angle < 0.6, "near to where it was"
    else:
        assert abs(angle - goal) < 0.05


@pytest.mark.parametrize("kind", ["motor", "geared_motor", "reversed_motor", "filtered_motor", "velocity", "damper"])
def test_a_brake_slows_down(kind: str) -> None:
    here = world(kind)
    here.model.opt.gravity[:] = 0
    _, speed = here.angle_after(controller(here, "brake"), 0.4)
    _, free = here.angle_after(Neutral(here.model, here.interface), 0.4)
    assert abs(speed) < 0.05
    assert kind == "velocity" or abs(free) > 0.2, "a control of its own does it"


def test_a_brake_of_motors_with_a_gain_is_that_gain() -> None:
    here = world("motor")
    data = here.moving(speed=0.05)
    state = np.empty(mujoco.mj_stateSize(here.model, INTEGRATION))
    mujoco.mj_getState(here.model, data, state, INTEGRATION)
    law = controller(here, "brake", gain=3.0)
    np.testing.assert_array_equal(here.interface.native(law.action(state, law.begin(state))), [-3.0 * 0.05])


def test_a_large_gain_does_not_turn_the_motion_round() -> None:
    """An unbounded gain of 1e6, held for a whole step, would swing the arm from one end of the range to the other."""
    here = world("motor")
    _, speed = here.angle_after(controller(here, "gravity_brake", gain=1e6), 1.0)
    assert abs(speed) < 1e-3


def test_a_muscle_pulls_where_that_brakes() -> None:
    here = world("muscle")
    here.model.opt.gravity[:] = 0
    law = controller(here, "brake")
    stopped = {}
    for speed in (0.5, -0.5):
        data = here.moving(speed)
        state = np.empty(mujoco.mj_stateSize(here.model, INTEGRATION))
        mujoco.mj_getState(here.model, data, state, INTEGRATION)
        stopped[speed] = float(here.interface.native(law.action(state, law.begin(state)))[0])
    lengthens = [speed for speed, control in stopped.items() if control > 0]
    assert len(lengthens) == 1, "it pulls in one direction only"


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["damper", "adhesion"])
@pytest.mark.parametrize("law", ["gravity_brake", "hold", "retreat"])
def test_a_law_that_cannot_act_is_refused(kind: str, law: Law) -> None:
    with pytest.raises(TelosError, match=r"back_up\.law: given .*no actuator \(it\) can exert a force at rest"):
        controller(world(kind), law)


def test_a_motor_cannot_hold_without_stiffness() -> None:
    here = world("motor")
    none = BackUp(seconds=1.0, rest_speed=0.1, law="hold", stiffness=0.0)
    with pytest.raises(TelosError, match=r"back_up\.stiffness: given 0"):
        BackUpController(none, here.model, here.interface)


def test_a_stop_shorter_than_a_control_step_is_refused() -> None:
    here = world("motor")
    with pytest.raises(TelosError, match=r"back_up\.seconds: given 0\.019; allowed: >= 0\.02 s, one control step"):
        BackUpController(BackUp(seconds=0.019, rest_speed=0.1), here.model, here.interface)
    BackUpController(BackUp(seconds=PERIOD, rest_speed=0.1), here.model, here.interface)


def test_a_stop_set_that_every_state_is_in_is_refused() -> None:
    here = world("motor")
    with pytest.raises(TelosError, match=r"back_up\.rest_speed: given 1e\+09; allowed: at most \d"):
        BackUpController(BackUp(seconds=1.0, rest_speed=1e9), here.model, here.interface)


@pytest.mark.parametrize("name", ["trun", "", "free"])
def test_a_posture_of_no_hinge_or_slide_is_refused(name: str) -> None:
    here = world("motor")
    retreat = BackUp(seconds=1.0, rest_speed=0.1, law="retreat", posture=((name, 0.0),), within=0.1)
    with pytest.raises(TelosError, match=r"back_up\.posture"):
        BackUpController(retreat, here.model, here.interface)


def test_every_actuator_of_this_version_was_tried() -> None:
    """Every gain, bias, dynamics and transmission type of MuJoCo occurs in some model here, so that it is tested."""
    seen = [model_of(kind) for kind in ACTUATORS]
    gains = {int(gain) for model in seen for gain in model.actuator_gaintype}
    assert {int(mujoco.mjtGain(value)) for value in range(len(mujoco.mjtGain.__members__))} - gains == {
        int(mujoco.mjtGain.mjGAIN_USER)
    }
    transmissions = {int(kind) for model in seen for kind in model.actuator_trntype}
    assert int(mujoco.mjtTrn.mjTRN_SO3) in transmissions


def test_a_force_that_integrates_its_control_is_let_go() -> None:
    """The control is the force's rate here, so a control of 0 would leave the force unchanged."""
    here = world("integrator")
    data = here.moving(speed=0.0)
    data.act[0] = 3.0
    state = np.empty(mujoco.mj_stateSize(here.model, INTEGRATION))
    for _ in range(5):
        mujoco.mj_getState(here.model, data, state, INTEGRATION)
        data.ctrl[:] = here.interface.native(Neutral(here.model, here.interface).action(state, TaskParams()))
        mujoco.mj_step(here.model, data, nstep=5)
    assert abs(data.act[0]) < 1e-9


def test_gravity_that_actuators_compensate_themselves_is_not_balanced_twice() -> None:
    here = world("compensated")
    angle, speed = here.angle_after(controller(here, "gravity_brake"), 0.5, speed=0.0)
    assert abs(angle - 0.4) < 1e-6
    assert abs(speed) < 1e-6


def test_a_part_of_a_control_step_counts_as_a_whole() -> None:
    here = world("motor")
    assert BackUpController(BackUp(0.029, 0.1), here.model, here.interface).steps == 2
    assert BackUpController(BackUp(0.3, 0.1), here.model, here.interface).steps == 15


@pytest.mark.parametrize(("within", "position", "said"), [(4.0, 0.0, "less than 3.14159"), (0.1, 9.0, "-2 to 2, the")])
def test_a_posture_that_is_no_place_is_refused(within: float, position: float, said: str) -> None:
    here = world("motor")
    if position:
        here.model.jnt_limited[0], here.model.jnt_range[0] = True, (-2.0, 2.0)
    retreat = BackUp(seconds=1.0, rest_speed=0.1, law="retreat", posture=(("turn", position),), within=within)
    with pytest.raises(TelosError, match=said):
        BackUpController(retreat, here.model, here.interface)
