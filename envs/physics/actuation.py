"""The actuators of a model at one state: the neutral control, and the control that balances gravity.

The control of a MuJoCo actuator can be a force, a setpoint of the length or of the velocity, a damping, or an
activation. So no single number is neutral for all types, and no formula covers all of them. The effect of each input is
therefore measured: MuJoCo computes the forces at this pose, at rest, under two controls. Every type that exerts a force
at rest is linear in between. Activations that follow their control are set to their steady-state value.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.physics.batch import INTEGRATION
from envs.task import TaskParams

_Gain, _Bias, _Dyn, _Trn = mujoco.mjtGain, mujoco.mjtBias, mujoco.mjtDyn, mujoco.mjtTrn
_FOLLOWS = (_Dyn.mjDYN_FILTER, _Dyn.mjDYN_FILTEREXACT, _Dyn.mjDYN_MUSCLE)  # activations that settle at the control
_POSITION = int(mujoco.mjtCtrlInput.mjINPUT_POS)  # bit of actuator_ctrlspec
_QUATERNION = int(mujoco.mjtCtrlChart.mjCHART_QUAT)  # actuator_ctrlspec of an orientation servo
_RANK = 1e-9  # smaller singular values, relative to the largest, count as 0
_NOTHING = 1e-12  # N or N·m per unit of control; a smaller effect is rounding


@dataclass(frozen=True)
class Pose:
    """The actuators at one pose, as if it were at rest. U inputs (native controls), O force outputs."""

    base: np.ndarray  # (U,) native control under which `force` was measured
    force: np.ndarray  # (O,) N or N·m
    slope: np.ndarray  # (U,) force per unit of native control; 0 where an input exerts none at rest
    load: np.ndarray  # (O,) N or N·m that balances gravity and springs, as far as these actuators can
    length: np.ndarray  # (O,) actuator lengths, gear included
    velocity: np.ndarray  # (O,) actuator velocities at the state itself, not at rest
    mobility: np.ndarray  # (O,O) acceleration of each length per unit of each force
    able: np.ndarray  # (O,) bool, whether some input can make the output exert a force at rest
    activation: np.ndarray  # (U,) activation of the input's actuator; 0 where it has none


class Actuation:
    """The actuators of one model.

    An actuator may have several inputs (`actuator_ctrlnum`) and several outputs (`nout`). Not thread-safe, because all
    calls compute in the same MjData.
    """

    def __init__(self, model: mujoco.MjModel, period: float) -> None:
        """
        Args:
            model: compiled; it is copied.
            period: s per control step, the time in which an integrating servo moves its setpoint.
        """
        probe = copy.copy(model)
        # Limits would make the force nonlinear in the control, and a delay would show the force of an earlier control.
        for limited in (probe.actuator_forcelimited, probe.actuator_ctrllimited, probe.actuator_actlimited):
            limited[:] = 0
        probe.actuator_delay[:] = 0
        probe.actuator_history[:] = 0
        self._model, self._data = probe, mujoco.MjData(probe)
        self._period = period
        self._params = TaskParams()
        self.names = tuple(model.actuator(index).name or str(index) for index in range(model.nactuator))
        self.owner = np.repeat(np.arange(model.nactuator), model.actuator_ctrlnum)  # (U,) actuator of each input
        self._slot = np.arange(model.nu) - model.actuator_ctrladr[self.owner]  # (U,) index within its actuator
        dynamics, kind = probe.actuator_dyntype[self.owner], probe.actuator_gaintype[self.owner]
        turns = probe.actuator_trntype[self.owner] == _Trn.mjTRN_SO3
        self._turns = turns & (dynamics == _Dyn.mjDYN_NONE)  # the setpoint is an orientation
        self._output = probe.actuator_outadr[self.owner] + np.where(turns, np.minimum(self._slot, 2), 0)  # (U,)
        self._gear = np.maximum(np.linalg.norm(probe.actuator_gear, axis=1), _NOTHING)[self._output]  # (U,)
        # Restoring force of an actuator, N or N·m per unit of length.
        pull = np.where(probe.actuator_biastype == _Bias.mjBIAS_AFFINE, -probe.actuator_biasprm[:, 1], 0.0)
        self._stiffness = np.where(turns, 0.0, np.maximum(pull, 0.0)[self.owner])  # (U,)
        self._follows = np.isin(dynamics, _FOLLOWS) & (probe.actuator_actnum[self.owner] == 1)
        single = probe.actuator_actnum[self.owner] <= 1
        # The activation of such a DC motor settles at a current.
        self._settles = (dynamics == _Dyn.mjDYN_DCMOTOR) & (probe.actuator_actnum[self.owner] == 1)
        self._unknown = ~single & (dynamics == _Dyn.mjDYN_DCMOTOR)  # thermal and friction states: no lasting force
        # The control moves an activation, which is a setpoint of the length, or a force.
        self._gain, self._offset = probe.actuator_gainprm[self.owner, 0], probe.actuator_biasprm[self.owner, 0]
        fixed = (kind == _Gain.mjGAIN_FIXED) & (self._gain != 0)
        self._integrates = (dynamics == _Dyn.mjDYN_INTEGRATOR) & fixed & ~turns
        self._compensated = np.isin(probe.dof_jntid, np.flatnonzero(probe.jnt_actgravcomp))
        named = (probe.actuator_ctrlspec[self.owner] & _POSITION > 0) & (self._slot == 0) & ~turns
        self._setpoint = named & np.isin(kind, (_Gain.mjGAIN_FIXED, _Gain.mjGAIN_PID, _Gain.mjGAIN_DCMOTOR))
        self._setpoint |= self._finds_setpoints(probe.actuator_plugin[self.owner] >= 0)
        self.servo = self._setpoint | (self._stiffness > 0) | turns
        """(U,) whether the input's actuator is a servo: it returns to a length or an orientation."""
        self.of_servos = np.zeros(model.nout, bool)
        """(O,) whether the output belongs to a servo."""
        self.of_servos[self._output[self.servo]] = True
        gain = probe.actuator_gainprm
        damps = (probe.actuator_gaintype == _Gain.mjGAIN_AFFINE) & (gain[:, :2] == 0).all(1)
        self.damping = np.where(damps, -np.sign(gain[:, 2]), 0.0)[self.owner]
        """(U,) 1 where a larger control damps more, -1 where a smaller one does, 0 where the control is no damping."""
        self._adheres = probe.actuator_trntype[self.owner] == _Trn.mjTRN_BODY

    def set_params(self, params: TaskParams) -> None:
        """Write the values that a reset chose into the model."""
        if params is not self._params and not params.same_model(self._params):
            for name, value in params.model.items():
                getattr(self._model, name)[...] = value
        self._params = params

    def at(self, state: np.ndarray) -> Pose:
        """The actuators at `state` (S,), mjSTATE_INTEGRATION."""
        model, data = self._model, self._data
        mujoco.mj_setState(model, data, state, INTEGRATION)
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        velocity = data.actuator_velocity.copy()
        data.qvel[:] = 0
        mujoco.mj_fwdVelocity(model, data)
        length, activation = data.actuator_length.copy(), np.zeros(model.nu)
        stateful = model.actuator_actnum[self.owner] > 0
        activation[stateful] = data.act[model.actuator_actadr[self.owner[stateful]]]
        # Adhesion actuators keep their control, because releasing a grip is not neutral.
        base = np.where(self._adheres, data.ctrl, np.where(self._setpoint, length[self._output], 0.0))
        force = self._force(base)
        slope = self._slope(base, force)
        able = np.zeros(model.nout, bool)
        able[self._output[(slope != 0) | self._integrates]] = True
        moment, moved = np.zeros((2, model.nout, model.nv))
        if moment.size:
            mujoco.mju_sparse2dense(
                moment, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
            )
            mujoco.mj_solveM(model, data, moved, moment)
        load, static = np.zeros(model.nout), data.qfrc_bias - data.qfrc_passive
        static[self._compensated] -= data.qfrc_gravcomp[self._compensated]  # exerted by actuators, so it is not passive
        if able.any() and np.isfinite(static).all() and np.isfinite(moment).all():  # else it has diverged
            load[able] = np.linalg.lstsq(moment[able].T, static, rcond=None)[0]
        return Pose(base, force, slope, load, length, velocity, moment @ moved.T, able, activation)

    def control(self, pose: Pose, force: np.ndarray, length: np.ndarray) -> np.ndarray:
        """The native control (U,) that exerts `force` (O,) at rest, with servos returning to `length` (O,).

        An input that exerts no force at rest keeps its base control. Nothing is clipped.
        """
        output = self._output
        moved = (length - pose.length)[output]
        wanted = (force - pose.force)[output] + np.where(self._setpoint, pose.slope, self._stiffness) * moved
        native = pose.base + np.divide(wanted, pose.slope, out=np.zeros_like(wanted), where=pose.slope != 0)
        native = np.where(self._setpoint & (pose.slope == 0), length[output], native)
        at = self._integrates
        exerted = force[output] - self._offset + self._stiffness * length[output]
        target = np.divide(exerted, self._gain, out=np.zeros_like(native), where=at)
        native = np.where(at, (target - pose.activation) / self._period, native)
        for first in np.flatnonzero(self._turns & (self._slot == 0)):
            setpoint = self._orientation(int(first), length)
            native[first : first + len(setpoint)] = setpoint
        return native

    def neutral(self, pose: Pose) -> np.ndarray:
        """The native control (U,) under which servos hold their position and other actuators exert no force at rest."""
        return self.control(pose, np.where(self.of_servos, pose.load, 0.0), pose.length)

    def accelerating(self, pose: Pose, acceleration: np.ndarray) -> np.ndarray:
        """The additional force (O,) that accelerates the lengths by `acceleration` (O,), m/s² or rad/s².

        A least-squares solution over the outputs that can exert a force; undriven coordinates move freely.
        """
        force, able = np.zeros_like(pose.load), pose.able
        if able.any() and np.isfinite(pose.mobility).all():
            coupled = pose.mobility[np.ix_(able, able)]
            force[able] = np.linalg.lstsq(coupled, acceleration[able], rcond=_RANK)[0]
        return force

    def rates(self, pose: Pose, gain: float) -> np.ndarray:
        """Acceleration (O,) of each length alone per unit of feedback error, under a feedback `gain`.

        The gain is in native control per m, rad, m/s or rad/s. The result is in 1/s for velocity feedback (damping) and
        in 1/s² for position feedback (stiffness).
        """
        rates = np.zeros_like(pose.load)
        np.maximum.at(rates, self._output, np.abs(pose.slope) / self._gear)
        return gain * rates * np.diagonal(pose.mobility)

    def length_of(self, state: np.ndarray, positions: dict[int, float]) -> np.ndarray:
        """The length (O,) of outputs at `state` (S,), with some joint positions replaced: index in qpos -> rad or m."""
        model, data = self._model, self._data
        mujoco.mj_setState(model, data, state, INTEGRATION)
        for index, position in positions.items():
            data.qpos[index] = position
        mujoco.mj_fwdPosition(model, data)
        return data.actuator_length.copy()

    def _finds_setpoints(self, asked: np.ndarray) -> np.ndarray:
        """Which of the inputs `asked` (U,) exert no force where the control equals the length.

        This is measured, because the model does not say what a plug-in does. The poses tried are away from zero,
        because at zero a motor exerts no force either.
        """
        found = asked.copy()
        if not asked.any():
            return found
        model, data, rng = self._model, self._data, np.random.default_rng(0)
        for _ in range(3):
            mujoco.mj_resetData(model, data)
            mujoco.mj_integratePos(model, data.qpos, rng.uniform(0.1, 0.3, model.nv), 1.0)
            mujoco.mj_fwdPosition(model, data)
            mujoco.mj_fwdVelocity(model, data)
            length = data.actuator_length[self._output]
            none, full = (np.abs(self._force(np.where(asked, at, 0.0))[self._output]) for at in (0.0, length))
            found &= (none > _NOTHING) & (full < 1e-6 * none)
        return found

    def _force(self, native: np.ndarray) -> np.ndarray:
        """The force (O,) under the control `native` (U,), at the pose in MjData."""
        model, data = self._model, self._data
        data.ctrl[:] = native
        data.act[model.actuator_actadr[self.owner[self._follows]]] = native[self._follows]
        if self._settles.any():  # at the value where its rate, which is linear in it, is 0
            at, rates = model.actuator_actadr[self.owner[self._settles]], []
            for value in (0.0, 1.0):
                data.act[at] = value
                mujoco.mj_fwdActuation(model, data)
                rates.append(data.act_dot[at])
            data.act[at] = rates[0] / (rates[0] - rates[1])
        mujoco.mj_fwdActuation(model, data)
        return data.actuator_force.copy()

    def _slope(self, base: np.ndarray, force: np.ndarray) -> np.ndarray:
        """The force per unit of control (U,) around `base`.

        Of each actuator, only the first input that exerts a force gets a slope.
        """
        slope = np.zeros(self._model.nu)
        for number in range(int(self._model.actuator_ctrlnum.max(initial=0))):
            served = np.bincount(self.owner, slope != 0, self._model.nactuator)[self.owner] > 0
            tried = (self._slot == number) & ~(served | self._adheres | self._turns | self._unknown)
            found = np.where(tried, (self._force(base + tried) - force)[self._output], 0.0)
            slope = np.where(np.abs(found) > _NOTHING, found, slope)
        return slope

    def _orientation(self, first: int, length: np.ndarray) -> np.ndarray:
        """The setpoint at `length` (O,) of the orientation servo whose first input is `first`."""
        output = self._output[first]
        rotation = length[output : output + 3]
        if self._model.actuator_ctrlspec[self.owner[first]] != _QUATERNION:
            return rotation
        angle = float(np.linalg.norm(rotation))
        quaternion = np.empty(4)
        mujoco.mju_axisAngle2Quat(quaternion, rotation / angle if angle > 0 else np.array([1.0, 0.0, 0.0]), angle)
        return quaternion
