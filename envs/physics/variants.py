"""Physics variants: physics that differ from the nominal model with which the agent plans."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields

import mujoco

from envs.errors import TelosError
from envs.physics import actuator_gain

# MjModel fields that a factor multiplies. Those of `gain` differ by actuator: see `actuator_gain`.
SCALED = {
    "mass": ("body_mass", "body_inertia"),
    "friction": ("geom_friction", "pair_friction", "flex_friction"),
    "damping": (
        *("dof_damping", "dof_dampingpoly", "tendon_damping", "tendon_dampingpoly"),
        *("actuator_damping", "actuator_dampingpoly", "flex_damping", "flex_edgedamping"),
    ),
}
# Fields that MuJoCo derives from masses, and for deformable bodies from damping too. `mj_setConst` also writes
# actuator_acc0, which is left out: a muscle without a peak force derives its strength from it, and that would grow with
# the mass.
DERIVED = (
    *("body_subtreemass", "body_invweight0", "dof_M0", "dof_invweight0", "tendon_invweight0"),
    *("flexedge_invweight0", "efm0_L"),
)


@dataclass(frozen=True)
class Variant:
    """How the physics differ from the nominal model. A factor of 1, and 0 in the other fields, changes nothing.

    `mass`: scales mass and rotational inertia of every body. Weight, gravity compensation and Coriolis forces grow with
    it. Armature, springs, dampers and actuators do not change, including a muscle whose peak force MuJoCo derives from
    its load.

    `friction`: scales the sliding, torsional and rolling friction coefficients of every contact, whether of geoms,
    explicit pairs, deformable bodies or the override in `option`. Friction loss of joints and tendons does not change.
    MuJoCo raises a coefficient below 1e-5 to 1e-5.

    `gain`: scales the force or torque of every actuator (`actuator_force`) at a given state, activation and control.
    For a servo this scales stiffness and damping, for a muscle active and passive force. Ranges of controls and forces
    do not change, so a saturated actuator exerts no more force. A model with an actuator whose force cannot be scaled
    is refused.

    `damping`: scales the damping forces (`qfrc_damper`), linear and of higher order, of every joint, tendon and
    deformable body, including what actuators declare as `damping` of their joint or tendon. Servos, damper actuators,
    fluids and plugins do not change.
    """

    mass: float = 1.0
    friction: float = 1.0
    gain: float = 1.0
    damping: float = 1.0
    latency: int = 0  # control steps by which an action is delayed
    observation_noise: float = 0.0  # standard deviation, in each observation's own unit

    def __post_init__(self) -> None:
        for name in ("mass", "friction", "gain", "damping"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise TelosError(f"variant.{name}", value, "a finite factor > 0")
        if self.latency < 0:
            raise TelosError("variant.latency", self.latency, "control steps >= 0")
        if not 0 <= self.observation_noise < float("inf"):
            raise TelosError("variant.observation_noise", self.observation_noise, "a finite number >= 0")

    def __str__(self) -> str:
        """The fields that differ from nominal, as text."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return ", ".join(f"{name} {value:g}" for name, value in given.items()) or "nominal"

    def apply(self, model: mujoco.MjModel) -> None:
        """Write the physical differences into a compiled model.

        Raises:
            TelosError: an actuator whose force `gain` cannot scale.
        """
        if self.gain != 1:
            actuator_gain.scale_forces(model, self.gain, "variant.gain")
        for name, scaled in SCALED.items():
            factor = getattr(self, name)
            if factor != 1:
                for field in scaled:
                    getattr(model, field)[...] *= factor
        if self.friction != 1:
            model.opt.o_friction *= self.friction
        if self.mass != 1 or self.damping != 1:
            _derive(model)

    def factor(self, field: str) -> float:
        """The factor on an MjModel field that a reset writes; resets write nominal values, as tasks know no variants.

        Raises:
            TelosError: a field for which this variant has no single factor.
        """
        if field in actuator_gain.FIELDS and self.gain != 1:
            raise TelosError("variant.gain", f"{self.gain:g}", f"1 with a task whose reset writes {field}")
        if field in DERIVED and (self.mass != 1 or self.damping != 1):
            name = "mass" if self.mass != 1 else "damping"
            given = f"{getattr(self, name):g}"
            raise TelosError(f"variant.{name}", given, f"1 with a task whose reset writes {field}")
        return next((getattr(self, name) for name, scaled in SCALED.items() if field in scaled), 1.0)


def _derive(model: mujoco.MjModel) -> None:
    """Recompute the derived fields, through a copy because `mj_setConst` writes other fields too."""
    fresh = copy.copy(model)
    mujoco.mj_setConst(fresh, mujoco.MjData(fresh))
    for field in DERIVED:
        getattr(model, field)[...] = getattr(fresh, field)
