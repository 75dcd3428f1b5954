"""Back-up controllers: what a task declares to bring its system to rest when nothing better is allowed."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from envs.errors import GuardrailWeakened, TelosError


@dataclass(frozen=True)
class BackUp:
    """A controller, the time it is given, and the stop set that it must reach.

    Each actuator takes the native control `-gain v`, clipped to its range; v is the velocity of what it
    drives: a joint, or a fixed tendon. Other actuators stay neutral.
    """

    seconds: float  # time given to reach the stop set, s
    rest_speed: float  # stop set: every joint velocity at most this, rad/s or m/s
    gain: float  # native control per rad/s or m/s
    joints: tuple[str, ...] = ()  # joints that must come to rest; all of them where empty

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 600:
            raise TelosError("back_up.seconds", self.seconds, "0 < s <= 600")
        if not self.gain >= 0:
            raise TelosError("back_up.gain", self.gain, "native control per rad/s or m/s, >= 0")
        if not self.rest_speed > 0:
            raise TelosError("back_up.rest_speed", self.rest_speed, "rad/s or m/s > 0")


def strengthened(base: BackUp | None, new: BackUp | None) -> BackUp | None:
    """The back-up that holds when `new` is laid over `base`: the same controller with a stricter stop set.

    Its time stays too: the margins are watched for as long as it runs, so less of it would check less.

    Raises:
        GuardrailWeakened: another gain or time, a faster stop set, or fewer joints that must come to rest.
    """
    if base is None or new is None:
        return new or base
    for name in ("seconds", "gain"):
        if getattr(new, name) != getattr(base, name):
            raise GuardrailWeakened(f"back_up.{name}", getattr(new, name), f"{getattr(base, name)}, as declared")
    if new.rest_speed > base.rest_speed:
        raise GuardrailWeakened("back_up.rest_speed", new.rest_speed, f"at most {base.rest_speed}")
    all_joints = not new.joints
    if not all_joints and not (base.joints and set(base.joints) <= set(new.joints)):
        raise GuardrailWeakened("back_up.joints", list(new.joints), f"at least {list(base.joints) or 'all'}")
    return new


class BackUpController:
    """A `BackUp` bound to a model: a law of the state alone, so what was verified is what will act."""

    def __init__(self, back_up: BackUp, model: mujoco.MjModel, low: np.ndarray, high: np.ndarray) -> None:
        self.back_up = back_up
        self._low, self._high = low, high
        self._velocity = actuator_velocities(model)
        self._qvel = slice(1 + model.nq, 1 + model.nq + model.nv)
        names = [model.joint(index).name for index in range(model.njnt)]
        for name in back_up.joints:
            if name not in names:
                raise TelosError.unknown("back_up.joints", name, names)
        at_rest = [names.index(name) for name in back_up.joints] or range(model.njnt)
        widths = {mujoco.mjtJoint.mjJNT_FREE: 6, mujoco.mjtJoint.mjJNT_BALL: 3}
        self._rest = [
            1 + model.nq + int(model.jnt_dofadr[joint]) + offset
            for joint in at_rest
            for offset in range(widths.get(mujoco.mjtJoint(int(model.jnt_type[joint])), 1))
        ]

    def action(self, state: np.ndarray) -> np.ndarray:
        """The action (A,) in [-1,1] at `state` (S,)."""
        center, half = (self._high + self._low) / 2, (self._high - self._low) / 2
        speed = self._velocity @ state[self._qvel]
        native = np.clip(-self.back_up.gain * speed, self._low, self._high)
        return (native - center) / half

    def at_rest(self, state: np.ndarray) -> bool:
        """Whether `state` (S,) lies in the declared stop set."""
        return bool(np.abs(state[self._rest]).max() <= self.back_up.rest_speed)


def actuator_velocities(model: mujoco.MjModel) -> np.ndarray:
    """(nu,nv) matrix that maps joint velocities to the velocity each actuator drives, signed by its gear."""
    scalar = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))
    matrix = np.zeros((model.nu, model.nv))
    for actuator in range(model.nu):
        target = int(model.actuator_trnid[actuator, 0])
        sign = np.sign(model.actuator_gear[actuator, 0])
        kind = model.actuator_trntype[actuator]
        if kind == mujoco.mjtTrn.mjTRN_JOINT and model.jnt_type[target] in scalar:
            matrix[actuator, model.jnt_dofadr[target]] = sign
        elif kind == mujoco.mjtTrn.mjTRN_TENDON:
            first = int(model.tendon_adr[target])
            for wrap in range(first, first + int(model.tendon_num[target])):
                if model.wrap_type[wrap] == mujoco.mjtWrap.mjWRAP_JOINT:
                    dof = model.jnt_dofadr[model.wrap_objid[wrap]]
                    matrix[actuator, dof] = sign * model.wrap_prm[wrap]
    return matrix
