"""A back-up bound to a model: its control law and its stop set."""

from __future__ import annotations

import math
from collections.abc import Mapping

import mujoco
import numpy as np

from envs.backup import BackUp
from envs.errors import TelosError
from envs.physics.actuation import Actuation, Pose
from envs.physics.batch import INTEGRATION, divergence
from envs.task import Interface, TaskParams

_SCALAR = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))
_PLAIN = (int(mujoco.mjtDyn.mjDYN_NONE), int(mujoco.mjtDyn.mjDYN_FILTER), int(mujoco.mjtDyn.mjDYN_FILTEREXACT))
# Upper limits of the gains. A control is held for a whole control step, so larger gains would reverse the motion.
_BRAKE = 0.5  # fraction of the deceleration that removes all speed in one control step
_PULL = 0.1  # fraction of the acceleration that covers the whole way back in one control step
_TRIAL, _MAX_KEYS = 1.0, 4  # of the trial with full controls: its length in s, the most keyframes it starts from
_LEAST_REST = 1.0  # s; within a shorter time, a slow turning point could pass for rest
_FULL_SPEED = 10.0  # the largest rest_speed, in multiples of the trial's speed: above it, no state is outside


class Neutral:
    """The neutral control: servos hold their position, and no other actuator exerts a force at rest."""

    def __init__(self, model: mujoco.MjModel, interface: Interface) -> None:
        self._interface = interface
        self.actuation = None if _motors_alone(model) else Actuation(model, interface.control_period)

    @property
    def holds(self) -> bool:
        """Whether some actuator is a servo, so that the neutral control actively holds a position."""
        return self.actuation is not None and bool(self.actuation.servo.any())

    def action(self, state: np.ndarray, params: TaskParams) -> np.ndarray:
        """The action (A,) in [-1,1] at `state` (S,)."""
        if self.actuation is None:
            return self._interface.normalised(np.zeros(self._interface.action_size))
        self.actuation.set_params(params)
        return self._interface.normalised(self.actuation.neutral(self.actuation.at(state)))


class BackUpController:
    """A `BackUp` bound to a model.

    The law depends on the state and on the state in which the stop began. The gate keeps the latter during a stop, so
    that it executes the law that it verified.
    """

    def __init__(self, back_up: BackUp, model: mujoco.MjModel, interface: Interface) -> None:
        """
        Args:
            model: the nominal model; the law is computed on it whatever the real physics are.

        Raises:
            TelosError: a joint that the model lacks, a time shorter than a control step, a law that has no effect with
                these actuators, or a stop set that leaves no state out.
        """
        self.back_up = back_up
        self._interface = interface
        if back_up.seconds < interface.control_period * (1 - 1e-9):
            raise TelosError("back_up.seconds", back_up.seconds, f">= {interface.control_period:g} s, one control step")
        joints = {model.joint(index).name: index for index in range(model.njnt) if model.joint(index).name}
        for name in back_up.joints:
            if name not in joints:
                raise TelosError.unknown("back_up.joints", name, joints)
        for name, _ in back_up.posture:
            if name not in joints or model.jnt_type[joints[name]] not in _SCALAR:
                scalar = [known for known, index in joints.items() if model.jnt_type[index] in _SCALAR]
                raise TelosError.unknown("back_up.posture", name, scalar)
        at_rest = [joints[name] for name in back_up.joints] or range(model.njnt)
        widths = {int(mujoco.mjtJoint.mjJNT_FREE): 6, int(mujoco.mjtJoint.mjJNT_BALL): 3}
        dofs = [int(model.jnt_dofadr[j]) + k for j in at_rest for k in range(widths.get(int(model.jnt_type[j]), 1))]
        self._dofs = np.array(dofs)
        self._rest = 1 + model.nq + self._dofs  # columns of a state
        self._check_posture(model, joints)
        self._posture = {int(model.jnt_qposadr[joints[name]]): position for name, position in back_up.posture}
        self._qvel = slice(1 + model.nq, 1 + model.nq + model.nv)
        as_declared = back_up.law == "brake" and back_up.gain is not None and _motors_alone(model)
        self._velocity = motor_velocities(model) if as_declared else None
        self._actuation = None
        if self._velocity is None:
            self._actuation = Actuation(model, interface.control_period)
        self._check_law(model)
        self._check_stop_set(model)

    @property
    def steps(self) -> int:
        """Number of control steps in the declared time, rounded up."""
        return max(1, math.ceil(self.back_up.seconds / self._interface.control_period - 1e-9))

    @property
    def rest_steps(self) -> int:
        """Number of control steps for which the stop must last: the declared time again, at least one second."""
        return max(self.steps, math.ceil(_LEAST_REST / self._interface.control_period - 1e-9))

    def set_params(self, params: TaskParams) -> None:
        """Write the values that a reset chose into the model on which the law is computed."""
        if self._actuation is not None:
            self._actuation.set_params(params)

    def begin(self, state: np.ndarray) -> np.ndarray:
        """The law's reference in a stop that begins at `state` (S,): the actuator lengths (O,) to return to.

        Laws without a reference return (0,).
        """
        if self.back_up.law not in ("hold", "retreat"):
            return np.zeros(0)
        assert self._actuation is not None
        return self._actuation.length_of(state, self._posture)

    def action(self, state: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """The law's action (A,) in [-1,1] at `state` (S,), with reference `begun`."""
        if self._velocity is not None:  # motors under `brake` with a gain: no physics needed
            return self._interface.normalised(-(self.back_up.gain or 0.0) * (self._velocity @ state[self._qvel]))
        assert self._actuation is not None
        return self._interface.normalised(self._native(self._actuation.at(state), begun))

    def at_rest(self, state: np.ndarray) -> bool:
        """Whether `state` (S,) lies in the declared stop set."""
        if not (np.abs(state[self._rest]) <= self.back_up.rest_speed).all():
            return False
        within = self.back_up.within or 0.0
        return all(abs(state[1 + index] - position) <= within for index, position in self._posture.items())

    def _native(self, pose: Pose, begun: np.ndarray) -> np.ndarray:
        """The law's control (U,), in native units."""
        actuation, back_up, period = self._actuation, self.back_up, self._interface.control_period
        assert actuation is not None
        servo = actuation.of_servos
        length = begun if len(begun) else pose.length
        force = np.where(servo, pose.load, 0.0) if back_up.law == "brake" else pose.load
        slowing, pull = np.full(len(servo), _BRAKE / period), np.full(len(servo), _PULL / period**2)
        if back_up.gain is not None:
            slowing = np.minimum(slowing, actuation.rates(pose, back_up.gain))
        if back_up.stiffness is not None:
            pull = np.minimum(pull, actuation.rates(pose, back_up.stiffness))
        wanted = np.where(servo, 0.0, pull * (length - pose.length)) - slowing * pose.velocity
        native = actuation.control(pose, force + actuation.accelerating(pose, wanted), length)
        if back_up.gain == 0:
            return native
        return np.select([actuation.damping > 0, actuation.damping < 0], [np.inf, -np.inf], native)

    def _check_law(self, model: mujoco.MjModel) -> None:
        """Raises TelosError for a law that has no effect with the actuators of this model."""
        actuation, law = self._actuation, self.back_up.law
        if actuation is None or law == "brake":  # `brake` may exert no force: damped joints stop then as well
            return
        servo = actuation.servo
        if not (servo.any() or (actuation.at(default_state(model)).slope != 0).any()):
            names = ", ".join(actuation.names)
            raise TelosError("back_up.law", repr(law), f"'brake': no actuator ({names}) can exert a force at rest")
        if law in ("hold", "retreat") and self.back_up.stiffness == 0 and not servo.any():
            allowed = f"> 0: under law {law!r}, actuators without a setpoint need it to return to a position"
            raise TelosError("back_up.stiffness", 0, allowed)

    def _check_posture(self, model: mujoco.MjModel, joints: Mapping[str, int]) -> None:
        """Raises TelosError for a posture outside a joint's range, or a `within` that covers all positions."""
        for name, position in self.back_up.posture:
            joint, within = joints[name], self.back_up.within or 0.0
            low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-np.inf, np.inf)
            if not low <= position <= high:
                raise TelosError(f"back_up.posture.{name}", position, f"{low:g} to {high:g}, the joint's range")
            turns = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE
            most = min(high - low, np.pi if turns else np.inf)
            if within >= most:
                raise TelosError("back_up.within", within, f"less than {most:g}, as {name} moves no farther")

    def _check_stop_set(self, model: mujoco.MjModel) -> None:
        """Raises TelosError for a rest speed far above the speed that these actuators reached in a trial."""
        speed = self.back_up.rest_speed
        fastest = full_speed(model, self._interface, self._dofs, speed / _FULL_SPEED)
        if 0 < fastest < speed / _FULL_SPEED:
            most = f"{_FULL_SPEED * fastest:.3g}"
            allowed = f"at most {most}, ten times what full controls reached in a trial: no state would be outside"
            raise TelosError("back_up.rest_speed", f"{speed:g}", allowed)


def default_state(model: mujoco.MjModel) -> np.ndarray:
    """The integration state (S,) of the model's default pose."""
    data = mujoco.MjData(model)
    state = np.empty(mujoco.mj_stateSize(model, INTEGRATION))
    mujoco.mj_getState(model, data, state, INTEGRATION)
    return state


def full_speed(model: mujoco.MjModel, interface: Interface, dofs: np.ndarray, enough: float) -> float:
    """The largest speed of `dofs` (D,) within one second of full controls, rad/s or m/s.

    Starts from the default pose and the first keyframes. From each, it tries all controls at the upper end, all at the
    lower end, both in alternation, and random ends. Returns early at the first speed of at least `enough`.
    """
    data, low, high = mujoco.MjData(model), interface.action_low, interface.action_high
    rng, steps = np.random.default_rng(0), max(1, round(_TRIAL / model.opt.timestep))
    turn = max(1, steps // 8)
    fastest = 0.0
    for key in range(-1, min(model.nkey, _MAX_KEYS)):
        for pattern in range(4):
            mujoco.mj_resetData(model, data) if key < 0 else mujoco.mj_resetDataKeyframe(model, data, key)
            for step in range(0, steps, turn):
                ends = (1, 0, (step // turn) % 2, rng.integers(0, 2, len(low)))[pattern]
                data.ctrl[:] = np.where(ends, high, low)
                mujoco.mj_step(model, data, nstep=turn)
                if not np.isfinite(data.qvel).all() or divergence(data):
                    break
                fastest = max(fastest, float(np.abs(data.qvel[dofs]).max(initial=0.0)))
                if fastest >= enough:
                    return fastest
    return fastest


def _motors_alone(model: mujoco.MjModel) -> bool:
    """Whether each actuator is a motor: control times a positive gain, on a hinge, a slide, or a tendon of those."""
    if (
        model.nu != model.nactuator
        or model.nout != model.nactuator
        or not np.isin(model.actuator_dyntype, _PLAIN).all()
    ):
        return False
    fixed = (model.actuator_gaintype == mujoco.mjtGain.mjGAIN_FIXED) & (model.actuator_gainprm[:, 0] > 0)
    free = (model.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE) & (model.actuator_plugin < 0)
    return bool((fixed & free).all()) and all(_drives_scalars(model, index) for index in range(model.nactuator))


def _drives_scalars(model: mujoco.MjModel, actuator: int) -> bool:
    target, kind = int(model.actuator_trnid[actuator, 0]), model.actuator_trntype[actuator]
    if kind == mujoco.mjtTrn.mjTRN_JOINT:
        return int(model.jnt_type[target]) in _SCALAR
    if kind != mujoco.mjtTrn.mjTRN_TENDON:
        return False
    first, count = int(model.tendon_adr[target]), int(model.tendon_num[target])
    return bool((model.wrap_type[first : first + count] == mujoco.mjtWrap.mjWRAP_JOINT).all())


def motor_velocities(model: mujoco.MjModel) -> np.ndarray:
    """(U,nv) matrix that maps joint velocities to the velocity each motor drives, signed by its gear."""
    matrix = np.zeros((model.nu, model.nv))
    for actuator in range(model.nu):
        target, sign = int(model.actuator_trnid[actuator, 0]), np.sign(model.actuator_gear[actuator, 0])
        if model.actuator_trntype[actuator] == mujoco.mjtTrn.mjTRN_JOINT:
            matrix[actuator, model.jnt_dofadr[target]] = sign
            continue
        first = int(model.tendon_adr[target])
        for wrap in range(first, first + int(model.tendon_num[target])):
            dof = model.jnt_dofadr[model.wrap_objid[wrap]]
            matrix[actuator, dof] = sign * model.wrap_prm[wrap]
    return matrix
