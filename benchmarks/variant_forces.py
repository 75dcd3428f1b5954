"""The measured effect of a variant's physics factors: each quantity with a factor, divided by the same one without.

`python -m benchmarks.variant_forces` prints two tables: the force of every type of actuator, and all other quantities
that factors act on. Both models are in the same state, under the same controls.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import mujoco
import numpy as np

from envs.errors import TelosError
from envs.physics.variants import Variant

FACTORS = ("gain", "damping", "friction", "mass")
FACTOR = 2.5

Measured = Mapping[str, np.ndarray]

WORLD = """
<mujoco>
  <extension><plugin plugin="mujoco.pid"/></extension>
  <option cone="elliptic" density="2" viscosity=".1"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 .1" friction=".2"/>
    <site name="origin" pos="0 0 1.1"/>
    <body pos="0 0 1"><joint name="hinge" axis="0 1 0" damping=".5 .1 .05" stiffness=".7"/>
      <geom type="capsule" size=".02" fromto="0 0 0 .4 0 0" mass="1" contype="0" conaffinity="0"/>
      <site name="insertion" pos=".2 0 .02"/></body>
    <body pos="1 0 1"><joint name="slide" type="slide" axis="0 0 1" damping=".3" frictionloss=".2" armature=".5"/>
      <geom size=".1" mass="2"/></body>
    <body pos="2 0 1"><joint name="ball" type="ball" damping=".2"/><geom size=".1" pos="0 0 -.2" mass="1"/></body>
    <body pos="3 0 1"><joint name="free" type="free" damping=".1"/><geom size=".1" mass="1"/></body>
    <body pos="0 1 1"><joint name="roped" type="slide" axis="0 0 1"/><geom size=".1" mass="1"/></body>
    <body pos="1 1 1"><joint name="geared" type="slide" axis="0 0 1"/><geom size=".1" mass="1"/></body>
    <body pos="0 3 .099"><joint name="sledge" type="free"/>
      <geom name="sledge" type="box" size=".1 .1 .1" friction=".3" mass="1"/></body>
    <body pos="1 3 .099"><joint name="paired" type="free"/>
      <geom name="paired" type="box" size=".1 .1 .1" mass="1" contype="0" conaffinity="0"/></body>
    <flexcomp name="cloth" type="grid" count="3 3 1" spacing=".1 .1 .1" pos="2 3 .009" radius=".01" mass="1" dim="2">
      <elasticity young="1e3" poisson=".1" thickness=".01" damping=".1" elastic2d="both"/>
      <contact selfcollide="none" friction=".4"/></flexcomp>
  </worldbody>
  <contact><pair geom1="paired" geom2="floor" friction=".5 .5 .01 .01 .01"/></contact>
  <tendon>
    <spatial name="cord"><site site="origin"/><site site="insertion"/></spatial>
    <fixed name="rope" damping=".4 .2 .1"><joint joint="roped" coef="1"/></fixed>
  </tendon>
  <actuator>%s<motor name="motor that damps" joint="geared" damping=".6"/></actuator>
</mujoco>
"""

ACTUATORS = {
    "motor": '<motor joint="hinge" gear="3"/>',
    "position servo": '<position joint="hinge" kp="3" kv=".5"/>',
    "position servo, filtered": '<position joint="hinge" kp="3" dampratio="1" timeconst=".1"/>',
    "position servo of a ball joint": '<position joint="ball" kp="3" kv=".5" gear="1 0 0"/>',
    "orientation servo": '<orientation joint="ball" kp="3" kv=".4"/>',
    "velocity servo": '<velocity joint="hinge" kv="2"/>',
    "intvelocity": '<intvelocity joint="hinge" kp="3" kv=".2" actrange="-3 3"/>',
    "pid": '<pid joint="hinge" kp="3" kv=".4" ki=".2" imax="5" slewmax="7"/>',
    "pid with feedforward": '<pid joint="hinge" kp="3" kv=".4" input="pos vel ff"/>',
    "damper": '<damper joint="hinge" kv="3" ctrlrange="0 1"/>',
    "cylinder": '<cylinder joint="hinge" area="2" bias=".1 .2 .3"/>',
    "muscle": '<muscle tendon="cord" force="50" lengthrange=".1 .3"/>',
    "muscle without a peak force": '<muscle tendon="cord" lengthrange=".1 .3"/>',
    "adhesion": '<adhesion body="world" gain="4" ctrlrange="0 1"/>',
    "dcmotor": '<dcmotor joint="hinge" motorconst=".5" resistance="2"/>',
    "dcmotor with heat and friction": (
        '<dcmotor joint="hinge" motorconst=".5" resistance="2" cogging=".1 6 .2" lugre="10 1 .1 .2 .01"'
        ' thermal="1 2 0 .004 25 30"/>'
    ),
    "dcmotor with a controller": (
        '<dcmotor joint="hinge" motorconst=".5" resistance="2" controller="3 .2 .1 7 5 1" input="pos vel voltage"/>'
    ),
    "dcmotor with feedforward": (
        '<dcmotor joint="hinge" motorconst=".5" resistance="2" controller="3" input="pos ff"/>'
    ),
    "dcmotor with inductance": '<dcmotor joint="hinge" motorconst=".5" resistance="2" inductance=".01"/>',
    "general, affine": '<general joint="hinge" gaintype="affine" gainprm="1 2 3" biastype="affine" biasprm="1 2 3"/>',
    "general, user": '<general joint="hinge" gaintype="user" biastype="user"/>',
    "plugin": (
        '<plugin joint="hinge" plugin="mujoco.pid" actdim="1">'
        '<config key="kp" value="4"/><config key="ki" value="1"/></plugin>'
    ),
}


def only(factor: str, value: float) -> Variant:
    """A variant that changes one factor."""
    return replace(Variant(), **{factor: value})


def compiled(actuator: str) -> mujoco.MjModel:
    """The world with this actuator, as actuator 0."""
    text = ACTUATORS[actuator].replace(" ", f' name="{actuator}" ', 1)
    return mujoco.MjModel.from_xml_string(WORLD % text)


def measured(model: mujoco.MjModel, seed: int = 0) -> Measured:
    """Forces and other quantities by name, in a random state in which sledges and cloth slide on the floor."""
    rng = np.random.default_rng(seed)
    data = mujoco.MjData(model)
    data.qvel[:] = rng.uniform(0.2, 1.0, model.nv)
    for name in ("hinge", "slide", "roped", "geared"):
        data.joint(name).qpos[:] = rng.uniform(0.1, 0.4)
    for name in ("sledge", "paired"):
        data.joint(name).qvel[:] = [2.0, 0, 0, 0, 0, 0]
    data.ctrl[:] = rng.uniform(0.1, 0.9, model.nu)
    data.act[:] = rng.uniform(0.1, 0.9, model.na)
    mujoco.mj_forward(model, data)
    own = model.actuator_outnum[0]
    inertia = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, inertia)
    inertia -= np.diag(model.dof_armature)

    def damping(joint: str) -> np.ndarray:
        begin = model.joint(joint).dofadr[0]
        return data.qfrc_damper[begin : begin + len(data.joint(joint).qvel)].copy()

    return {
        "actuator force": data.actuator_force[:own].copy(),
        "activation's rate": data.act_dot.copy(),
        **{f"damping of a {name} joint": damping(name) for name in ("hinge", "slide", "ball", "free")},
        "damping of a tendon": damping("roped"),
        "damping by an actuator's `damping`": damping("geared"),
        "damping of a deformable body": data.qfrc_damper[_flex_dofs(model)].copy(),
        "friction of geoms": _friction(model, data, "sledge"),
        "friction of an explicit pair": _friction(model, data, "paired"),
        "friction of a deformable body": _friction(model, data, None),
        "friction loss of a joint": data.efc_force[data.efc_type == mujoco.mjtConstraint.mjCNSTR_FRICTION_DOF].copy(),
        "springs": data.qfrc_spring.copy(),
        "fluid drag": data.qfrc_fluid.copy(),
        "inertia": inertia,
        "gravity and Coriolis forces": data.qfrc_bias.copy(),
    }


def _flex_dofs(model: mujoco.MjModel) -> np.ndarray:
    return np.flatnonzero(np.isin(model.dof_bodyid, model.flex_vertbodyid))


def _friction(model: mujoco.MjModel, data: mujoco.MjData, geom: str | None) -> np.ndarray:
    """The ratio of tangential to normal force on the floor, of this geom or (None) of the deformable body, (1,)."""
    tangential = normal = 0.0
    for index, contact in enumerate(data.contact[: data.ncon]):
        touching = contact.flex.max() >= 0 if geom is None else model.geom(geom).id in contact.geom
        if touching:
            force = np.zeros(6)
            mujoco.mj_contactForce(model, data, index, force)
            normal += force[0]
            tangential += np.hypot(force[1], force[2])
    return np.array([tangential / normal])


def ratios(actuator: str, factor: str) -> dict[str, float]:
    """Every quantity with the factor divided by the same one without; NaN where its components disagree.

    Raises:
        TelosError: the actuator refuses the factor.
    """
    nominal = compiled(actuator)
    varied = copy.copy(nominal)
    only(factor, FACTOR).apply(varied)
    before, after = measured(nominal), measured(varied)
    return {name: _ratio(after[name], before[name]) for name in before}


def _ratio(after: np.ndarray, before: np.ndarray) -> float:
    there = np.abs(before) > 1e-9
    if after.shape != before.shape or (np.abs(after[~there]) > 1e-9).any():
        return float("nan")
    found = after[there] / before[there]
    if not len(found):
        return 1.0
    return float(found.mean()) if np.allclose(found, found[0], rtol=1e-6) else float("nan")


def actuator_table() -> str:
    """A table of each actuator type's force under each factor, followed by the list of refusals."""
    lines = [f"| actuator | {' | '.join(FACTORS)} |", "|---" * (len(FACTORS) + 1) + "|"]
    refusals = []
    for actuator in ACTUATORS:
        cells = []
        for factor in FACTORS:
            try:
                cells.append(f"{ratios(actuator, factor)['actuator force']:.3f}")
            except TelosError as error:
                cells.append("refused")
                refusals.append(f"- {actuator}: `{error}`")
        lines.append(f"| {actuator} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *refusals])


def other_table() -> str:
    """A table of all other quantities under each factor, measured in the world with a motor."""
    found = {factor: ratios("motor", factor) for factor in FACTORS}
    lines = [f"| quantity | {' | '.join(FACTORS)} |", "|---" * (len(FACTORS) + 1) + "|"]
    for name in found["mass"]:
        lines.append(f"| {name} | {' | '.join(f'{found[factor][name]:.3f}' for factor in FACTORS)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    print(f"Each factor is {FACTOR}.\n")
    print(actuator_table())
    print()
    print(other_table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
