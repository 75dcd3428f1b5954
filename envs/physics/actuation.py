"""What the actuators of a model do at one state: which control is neutral, which one balances gravity.

MuJoCo's actuators differ in what their control means: a force, a setpoint for the length, one for the velocity, a
damping, an activation. So no single number is neutral for all of them, and no formula of one type fits the others. What
each input does is therefore measured: MuJoCo computes the forces at this pose, at rest, under two controls, and every
type that exerts a force at rest is linear in between. Activations that follow their control are set to what they settle
at.
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
_RANK = 1e-9  # of the largest: smaller directions of a singular system are left out
_NOTHING = 1e-12  # N or N·m per unit of control: less is rounding


@dataclass(frozen=True)
class Pose:
    """The actuators at one pose, as if it were at rest. U inputs (native controls), O force outputs."""

    base: np.ndarray  # (U,) native control under which `force` was measured
    force: np.ndarray  # (O,) N or N·m
    slope: np.ndarray  # (U,) force per unit of native control; 0 where an input exerts none at rest
    load: np.ndarray  # (O,) N or N·m that balances gravity and springs, as far as these actuators can
    length: np.ndarray  # (O,) of what an output drives, gear included
    velocity: np.ndarray  # (O,) of its length, as it moves now
    mobility: np.ndarray  # (O,O) acceleration of each length per unit of each force
    able: np.ndarray  # (O,) bool, whether some input can make it exert a force at rest
    activation: np.ndarray  # (U,) of the input's actuator; 0 where it has none


class Actuation:
    """The actuators of one model. Not thread-safe: it computes in MjData of its own.

    An actuator may have several inputs (`actuator_ctrlnum`) and several outputs (`nout`).
    """

    def __init__(self, model: mujoco.MjModel, period: float) -> None:
        """
        Args:
            model: compiled; it is copied.
            period: s per control step, in which an integrating servo can move its setpoint.
        """
        probe = copy.copy(model)
        # Limits would bend the line between two controls, and a delay would show the force of an earlier control.
        for limited in (probe.actuator_forcelimited, probe.actuator_ctrllimited, probe.actuator_actlimited):
            limited[:] = 0
        probe.actuator_delay[:] = 0
        probe.actuator_history[:] = 0
        self._model, self._data = probe, mujoco.MjData(probe)
        self._period = period
        self._params = TaskParams()
        self.names = tuple(model.actuator(index).name or str(index) for index in range(model.nactuator))
        self.owner = np.repeat(np.arange(model.nactuator), model.actuator_ctrlnum)  # (U,) actuator of each input
        self._slot = np.arange(model.nu) - model.actuator_ctrladr[self.owner]  # (U,) among the inputs of its actuator
        dynamics, kind = probe.actuator_dyntype[self.owner], probe.actuator_gaintype[self.owner]
        turns = probe.actuator_trntype[self.owner] == _Trn.mjTRN_SO3
        self._turns = turns & (dynamics == _Dyn.mjDYN_NONE)  # the setpoint is an orientation
        self._output = probe.actuator_outadr[self.owner] + np.where(turns, np.minimum(self._slot, 2), 0)  # (U,)
        self._gear = np.maximum(np.linalg.norm(probe.actuator_gear, axis=1), _NOTHING)[self._output]  # (U,)
        # N or N·m by which an actuator pulls back per unit of length.
        pull = np.where(probe.actuator_biastype == _Bias.mjBIAS_AFFINE, -probe.actuator_biasprm[:, 1], 0.0)
        self._stiffness = np.where(turns, 0.0, np.maximum(pull, 0.0)[self.owner])  # (U,)
        self._follows = np.isin(dynamics, _FOLLOWS) & (probe.actuator_actnum[self.owner] == 1)
        single = probe.actuator_actnum[self.owner] <= 1
        self._settles = (dynamics == _Dyn.mjDYN_DCMOTOR) & (probe.actuator_actnum[self.owner] == 1)  # at a current
        self._unknown = ~single & (dynamics == _Dyn.mjDYN_DCMOTOR)  # heat and bristles: no force that lasts
        # The control moves an activation, which is a setpoint of the length, or a force.
        self._gain, self._offset = probe.actuator_gainprm[self.owner, 0], probe.actuator_biasprm[self.owner, 0]
        fixed = (kind == _Gain.mjGAIN_FIXED) & (self._gain != 0)
        self._integrates = (dynamics == _Dyn.mjDYN_INTEGRATOR) & fixed & ~turns
        self._compensated = np.isin(probe.dof_jntid, np.flatnonzero(probe.jnt_actgravcomp))
        named = (probe.actuator_ctrlspec[self.owner] & _POSITION > 0) & (self._slot == 0) & ~turns
        self._setpoint = named & np.isin(kind, (_Gain.mjGAIN_FIXED, _Gain.mjGAIN_PID, _Gain.mjGAIN_DCMOTOR))
        self._setpoint |= self._finds_setpoints(probe.actuator_plugin[self.owner] >= 0)
        self.servo = self._setpoint | (self._stiffness > 0) | turns
        """(U,) whether the input's actuator has a length, or an orientation, to which it returns."""
        self.of_servos = np.zeros(model.nout, bool)
        """(O,) the same of outputs."""
        self.of_servos[self._output[self.servo]] = True
        gain = probe.actuator_gainprm
        damps = (probe.actuator_gaintype == _Gain.mjGAIN_AFFINE) & (gain[:, :2] == 0).all(1)
        self.damping = np.where(damps, -np.sign(gain[:, 2]), 0.0)[self.owner]
        """(U,) 1 where more control damps more, -1 where less does, 0 where the control is no damping."""
        self._adheres = probe.actuator_trntype[self.owner] == _Trn.mjTRN_BODY

    def set_params(self, params: TaskParams) -> None:
        """Write what a reset decided into the model."""
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
        # What adheres goes on as it does: to let go is no neutral thing.
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
        static[self._compensated] -= data.qfrc_gravcomp[self._compensated]  # an actuator's own, and no passive force
        if able.any() and np.isfinite(static).all() and np.isfinite(moment).all():  # else it has diverged
            load[able] = np.linalg.lstsq(moment[able].T, static, rcond=None)[0]
        return Pose(base, force, slope, load, length, velocity, moment @ moved.T, able, activation)

    def control(self, pose: Pose, force: np.ndarray, length: np.ndarray) -> np.ndarray:
        """The native control (U,) that exerts `force` (O,) at rest, where servos are to return to `length` (O,).

        What an input cannot exert is left at its base; nothing is clipped.
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
        """The native control (U,) under which servos stay where they are, and nothing else exerts a force at rest."""
        return self.control(pose, np.where(self.of_servos, pose.load, 0.0), pose.length)

    def accelerating(self, pose: Pose, acceleration: np.ndarray) -> np.ndarray:
        """The force (O,) that, besides what acts already, gives the lengths this acceleration (O,), m/s² or rad/s².

        As far as these actuators can, in the least-squares sense; what none of them drives moves freely.
        """
        force, able = np.zeros_like(pose.load), pose.able
        if able.any() and np.isfinite(pose.mobility).all():
            coupled = pose.mobility[np.ix_(able, able)]
            force[able] = np.linalg.lstsq(coupled, acceleration[able], rcond=_RANK)[0]
        return force

    def rates(self, pose: Pose, gain: float) -> np.ndarray:
        """What feedback of `gain`, in native control per m, rad, m/s or rad/s, does to each length alone, (O,).

        As acceleration per unit of length or velocity: the rate of a damping in 1/s, of a stiffness in 1/s².
        """
        rates = np.zeros_like(pose.load)
        np.maximum.at(rates, self._output, np.abs(pose.slope) / self._gear)
        return gain * rates * np.diagonal(pose.mobility)

    def length_of(self, state: np.ndarray, positions: dict[int, float]) -> np.ndarray:
        """The length (O,) that outputs have at `state` (S,) with other joint positions: index in qpos -> rad or m."""
        model, data = self._model, self._data
        mujoco.mj_setState(model, data, state, INTEGRATION)
        for index, position in positions.items():
            data.qpos[index] = position
        mujoco.mj_fwdPosition(model, data)
        return data.actuator_length.copy()

    def _finds_setpoints(self, asked: np.ndarray) -> np.ndarray:
        """Which of the inputs `asked` (U,) exert no force where the control equals the length: what plug-ins do is not
        written in the model. Tried at poses away from zero, as a motor exerts none there either."""
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
        """The force (O,) under a control (U,), at the pose that is set."""
        model, data = self._model, self._data
        data.ctrl[:] = native
        data.act[model.actuator_actadr[self.owner[self._follows]]] = native[self._follows]
        if self._settles.any():  # where its rate, which is linear in it, is 0
            at, rates = model.actuator_actadr[self.owner[self._settles]], []
            for value in (0.0, 1.0):
                data.act[at] = value
                mujoco.mj_fwdActuation(model, data)
                rates.append(data.act_dot[at])
            data.act[at] = rates[0] / (rates[0] - rates[1])
        mujoco.mj_fwdActuation(model, data)
        return data.actuator_force.copy()

    def _slope(self, base: np.ndarray, force: np.ndarray) -> np.ndarray:
        """The force per unit of control (U,) around `base`, of the first input of an actuator that exerts any."""
        slope = np.zeros(self._model.nu)
        for number in range(int(self._model.actuator_ctrlnum.max(initial=0))):
            served = np.bincount(self.owner, slope != 0, self._model.nactuator)[self.owner] > 0
            tried = (self._slot == number) & ~(served | self._adheres | self._turns | self._unknown)
            found = np.where(tried, (self._force(base + tried) - force)[self._output], 0.0)
            slope = np.where(np.abs(found) > _NOTHING, found, slope)
        return slope

    def _orientation(self, first: int, length: np.ndarray) -> np.ndarray:
        """The setpoint of an orientation servo, of which `first` is the first input, at `length` (O,)."""
        output = self._output[first]
        rotation = length[output : output + 3]
        if self._model.actuator_ctrlspec[self.owner[first]] != _QUATERNION:
            return rotation
        angle = float(np.linalg.norm(rotation))
        quaternion = np.empty(4)
        mujoco.mju_axisAngle2Quat(quaternion, rotation / angle if angle > 0 else np.array([1.0, 0.0, 0.0]), angle)
        return quaternion
