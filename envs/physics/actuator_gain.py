"""Actuator gain: multiplies every actuator's force at a given state and control by a factor.

The force is gain times input plus bias. The parameters in which it is linear differ by type, as in `mj_fwdActuation`.
"""

from __future__ import annotations

import mujoco
import numpy as np
from mujoco import mjtBias, mjtDyn, mjtGain

from envs.errors import TelosError

FIELDS = ("actuator_gainprm", "actuator_biasprm", "actuator_dynprm")  # the fields that `scale_forces` may write
_FEEDFORWARD = 4  # the bit of `actuator_ctrlspec` for an input that is a force, of a pid or dcmotor

# Columns of actuator_gainprm and actuator_biasprm in which the force is linear. For a muscle these are its peak force
# and the scale, which MuJoCo uses where the peak force is negative.
_GAIN: dict[mjtGain, list[int]] = {
    mjtGain.mjGAIN_FIXED: [0],
    mjtGain.mjGAIN_AFFINE: [0, 1, 2],
    mjtGain.mjGAIN_MUSCLE: [2, 3],
    mjtGain.mjGAIN_SO3: [0],
    mjtGain.mjGAIN_PID: [0],
    mjtGain.mjGAIN_DCMOTOR: [4, 5, 6],  # gains of its controller; for the others see `_scale_dcmotor`
}
_BIAS: dict[mjtBias, list[int]] = {
    mjtBias.mjBIAS_NONE: [],
    mjtBias.mjBIAS_AFFINE: [0, 1, 2],
    mjtBias.mjBIAS_MUSCLE: [2, 3],
    mjtBias.mjBIAS_SO3: [0, 1, 2],
    mjtBias.mjBIAS_DCMOTOR: [0, 3, 4],  # cogging torque, Coulomb and static friction
}


def scale_forces(model: mujoco.MjModel, factor: float, where: str) -> None:
    """Multiply the force of every actuator, `actuator_force`, at a given state, activation and control.

    Activation dynamics and the ranges of controls and forces do not change.

    Raises:
        TelosError: an actuator whose force cannot be scaled, named under `where`; the model is then unchanged.
    """
    for index in range(model.nactuator):
        if reason := _unreachable(model, index):
            name = model.actuator(index).name
            shown = repr(name) if name else f"number {index}"
            raise TelosError(where, f"{factor:g}", f"1 for actuator {shown} ({reason}), whose force cannot be scaled")
    for index in range(model.nactuator):
        gain, bias, _ = _types(model, index)
        model.actuator_gainprm[index, _GAIN[gain]] *= factor
        model.actuator_biasprm[index, _BIAS[bias]] *= factor
        if gain == mjtGain.mjGAIN_DCMOTOR:
            _scale_dcmotor(model.actuator_gainprm[index], model.actuator_dynprm[index], factor)


def _unreachable(model: mujoco.MjModel, index: int) -> str | None:
    """Why no parameters of the model scale this actuator's force; None where some do."""
    gain, bias, dyn = _types(model, index)
    if model.actuator_plugin[index] >= 0:
        return "a plugin"
    if gain not in _GAIN or bias not in _BIAS:
        return "user-defined gain or bias"
    servo = gain in (mjtGain.mjGAIN_PID, mjtGain.mjGAIN_DCMOTOR)  # for other types the bits mean something else
    if servo and model.actuator_ctrlspec[index] & _FEEDFORWARD:
        return "its feedforward input is a force"
    if gain != mjtGain.mjGAIN_DCMOTOR and (bias == mjtBias.mjBIAS_DCMOTOR or dyn == mjtDyn.mjDYN_DCMOTOR):
        return "bias or dynamics of a dcmotor without its gain"
    if gain == mjtGain.mjGAIN_DCMOTOR and model.actuator_dynprm[index, 0] > 0:
        return "a dcmotor with inductance: its current is a state"
    return None


def _types(model: mujoco.MjModel, index: int) -> tuple[mjtGain, mjtBias, mjtDyn]:
    return (
        mjtGain(model.actuator_gaintype[index]),
        mjtBias(model.actuator_biastype[index]),
        mjtDyn(model.actuator_dyntype[index]),
    )


def _scale_dcmotor(gain: np.ndarray, dyn: np.ndarray, factor: float) -> None:
    """Scale a DC motor's torque K/R (V - K w) by its resistance R, which leaves the back-EMF K w unchanged.

    Heat grows with the torque, so the thermal constants are scaled too, and the temperature rises as before. The
    bristles of the friction model become stiffer, so that they deflect as before.
    """
    gain[0] /= factor  # resistance
    dyn[2] /= factor  # thermal resistance
    dyn[3] *= factor  # thermal capacitance
    dyn[5:7] *= factor  # stiffness and damping of the bristles
