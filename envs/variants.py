"""Physics variants: a reality that differs from the model that plans for it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import mujoco

from envs.errors import TelosError


@dataclass(frozen=True)
class Variant:
    """How reality differs from the nominal model. Factors multiply; 1 and 0 change nothing."""

    mass: float = 1.0  # factor on every body's mass and inertia
    friction: float = 1.0  # factor on every geom's friction
    gain: float = 1.0  # factor on every actuator's gain
    damping: float = 1.0  # factor on every joint's damping
    latency: int = 0  # control steps that an action arrives late
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
        """What differs, in words."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return ", ".join(f"{name} {value:g}" for name, value in given.items()) or "nominal"

    def apply(self, model: mujoco.MjModel) -> None:
        """Write the physical differences into a compiled model."""
        if self.mass != 1:
            model.body_mass *= self.mass
            model.body_inertia *= self.mass
            mujoco.mj_setConst(model, mujoco.MjData(model))
        if self.friction != 1:
            model.geom_friction *= self.friction
            model.pair_friction *= self.friction
        if self.gain != 1:
            model.actuator_gainprm[:, 0] *= self.gain
            # A position or velocity servo's bias is its gain seen from the other side.
            affine = model.actuator_biastype == mujoco.mjtBias.mjBIAS_AFFINE
            model.actuator_biasprm[affine] *= self.gain
        if self.damping != 1:
            model.dof_damping *= self.damping

    def factor(self, field: str) -> float:
        """On what a reset writes into an MjModel field: that is nominal, as a task's author knows no variant."""
        factors = {"dof_damping": self.damping, "geom_friction": self.friction, "pair_friction": self.friction}
        return factors.get(field, 1.0)
