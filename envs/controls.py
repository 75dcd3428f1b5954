"""Control inputs: MuJoCo's `ctrl` has one entry per input, and an actuator may have several, or none.

Actuator i owns the inputs `actuator_ctrladr[i]` to `actuator_ctrladr[i] + actuator_ctrlnum[i] - 1`, and
`actuator_ctrlrange` has a row per input (nu,2), while most `actuator_*` fields have one per actuator (nactuator,…).
"""

from __future__ import annotations

import math

import mujoco

from envs.errors import TelosError

# The ranges of a `pid`; every other actuator has one range for all its inputs.
_RANGES = {mujoco.mjtCtrlInput.mjINPUT_VEL: "velrange", mujoco.mjtCtrlInput.mjINPUT_FF: "ffrange"}


def check_controls(where: str, model: mujoco.MjModel) -> None:
    """Refuse a model with a control input that has no range, because actions in [-1,1] are scaled to that range.

    Raises:
        TelosError: a range that is missing, off or wrong, with the actuator, and its input where it has several.
    """
    if model.nu == 0:
        raise TelosError(where, "no actuators", "one or more, each with a ctrlrange")
    for actuator in range(model.nactuator):
        attributes = _attributes(model, actuator)
        for i, attribute in enumerate(attributes):
            row = int(model.actuator_ctrladr[actuator]) + i
            low, high = (float(end) for end in model.actuator_ctrlrange[row])
            if model.actuator_ctrllimited[row] and math.isfinite(high - low):
                continue
            name = model.actuator(actuator).name
            at = f"{where}, actuator {repr(name) if name else actuator}"
            if len(attributes) > 1:
                at += f", input {i + 1} of {len(attributes)}"
            if low == high == 0:
                raise TelosError(at, f"no {attribute}", f"a {attribute}")
            if low < high and not model.actuator_ctrllimited[row]:
                raise TelosError(at, 'ctrllimited="false"', f'ctrllimited="true" beside its {attribute}')
            raise TelosError(at, f'{attribute}="{low:g} {high:g}"', "two finite numbers, the lower one first")


def _attributes(model: mujoco.MjModel, actuator: int) -> list[str]:
    """The MJCF attribute that limits each input of an actuator, in the order of the inputs."""
    number, signature = int(model.actuator_ctrlnum[actuator]), int(model.actuator_ctrlspec[actuator])
    if model.actuator_gaintype[actuator] != mujoco.mjtGain.mjGAIN_PID:
        return ["ctrlrange"] * number
    inputs = [kind for kind in mujoco.mjtCtrlInput.__members__.values() if signature & int(kind)]
    return [_RANGES.get(kind, "ctrlrange") for kind in inputs]
