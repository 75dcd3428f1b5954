"""Every factor of a variant scales exactly its own quantity, for every type of actuator, joint and contact."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.variant_forces import (
    ACTUATORS,
    FACTOR,
    FACTORS,
    WORLD,
    actuator_table,
    compiled,
    measured,
    only,
    other_table,
    ratios,
)
from envs import registry
from envs.environment import Environment
from envs.errors import TelosError
from envs.physics import actuator_gain
from envs.physics.batch import BatchPhysics
from envs.physics.variants import DERIVED, SCALED, Variant
from envs.task import TaskParams

REFUSED = {  # to which `gain` cannot be applied, and why
    "pid with feedforward": "its feedforward input is a force",
    "dcmotor with feedforward": "its feedforward input is a force",
    "dcmotor with inductance": "its current is a state",
    "general, user": "user-defined gain",
    "plugin": "a plugin",
}
DECLARED = {  # MjModel fields that each factor may write
    "gain": actuator_gain.FIELDS,
    "damping": (*SCALED["damping"], "efm0_L"),
    "friction": SCALED["friction"],
    "mass": (*SCALED["mass"], *DERIVED),
}
MODELS = [
    "dm_control/cartpole-swingup-v0",
    "dm_control/quadruped-walk-v0",
    "dm_control/finger-spin-v0",
    "dm_control/fish-swim-v0",
    "Hopper-v5",
    "Pusher-v5",
]


def belongs_to(quantity: str) -> str | None:
    """The factor to which a measured quantity is proportional; None if there is none."""
    if quantity.startswith("damping"):
        return "damping"
    if quantity in ("friction of geoms", "friction of an explicit pair", "friction of a deformable body"):
        return "friction"
    return {"actuator force": "gain", "inertia": "mass", "gravity and Coriolis forces": "mass"}.get(quantity)


def arrays(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """A copy of every array field of a model and of its options."""
    found = {}
    for prefix, owner in (("", model), ("opt.", model.opt), ("stat.", model.stat)):
        for name in dir(owner):
            value = None if name.startswith("_") else getattr(owner, name)
            if isinstance(value, np.ndarray | int | float):
                found[prefix + name] = np.array(value)
    return found


def changed(before: mujoco.MjModel, after: mujoco.MjModel) -> set[str]:
    """The names of the fields in which two models differ in any bit."""
    old, new = arrays(before), arrays(after)
    return {name for name in old if old[name].tobytes() != new[name].tobytes()}


def actuated(actuator: str) -> mujoco.MjModel:
    """One pendulum with one actuator."""
    return mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><body><joint name="hinge"/><geom size=".1"/></body></worldbody>'
        f"<actuator>{actuator}</actuator></mujoco>"
    )


# --- what is measured ------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("actuator", ACTUATORS)
def test_a_factor_scales_its_own_quantities_and_no_other(actuator: str, factor: str) -> None:
    if factor == "gain" and actuator in REFUSED:
        with pytest.raises(TelosError, match=rf"variant.gain: given 2.5; allowed: 1 for actuator '{actuator}'"):
            ratios(actuator, factor)
        return
    found = ratios(actuator, factor)
    expected = {quantity: FACTOR if belongs_to(quantity) == factor else 1.0 for quantity in found}
    assert found == pytest.approx(expected, rel=1e-9)


def test_every_quantity_is_there_to_be_scaled() -> None:
    """A ratio of 1 means nothing where there is no force."""
    for actuator in ACTUATORS:
        for quantity, values in measured(compiled(actuator)).items():
            assert np.abs(values).max(initial=0.0) > 1e-6 or quantity == "activation's rate", (actuator, quantity)


def test_the_page_shows_what_is_measured() -> None:
    page = (Path(__file__).parents[2] / "docs" / "variants.md").read_text(encoding="utf-8")
    assert actuator_table() in page
    assert other_table() in page


@pytest.mark.parametrize("actuator", sorted(ACTUATORS.keys() - REFUSED.keys()))
def test_heavier_bodies_move_alike_under_greater_forces(actuator: str) -> None:
    """Mass, gain and damping cancel out, also in the integrator's derivatives; springs and fluids would not."""
    ends = []
    for factor in (1.0, 3.0):
        model = compiled(actuator)
        for stays in (model.jnt_stiffness, model.flex_stiffness, model.flex_bending):
            stays[:] = 0.0
        model.opt.density = model.opt.viscosity = 0.0
        model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        Variant(mass=factor, gain=factor, damping=factor).apply(model)
        data = mujoco.MjData(model)
        data.ctrl[:] = 0.7
        data.joint("sledge").qvel[0] = 1.0
        for _ in range(50):
            mujoco.mj_step(model, data)
        ends.append(np.concatenate([data.joint(name).qvel for name in ("hinge", "ball", "sledge")]))
    assert np.abs(ends[0]).max() > 0.1
    assert_allclose(ends[1], ends[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("factor", [0.3, 7.0])
def test_factors_do_not_depend_on_one_another(factor: float) -> None:
    model = compiled("muscle without a peak force")
    each, together = copy.copy(model), copy.copy(model)
    for name in FACTORS:
        only(name, factor).apply(each)
    Variant(mass=factor, friction=factor, gain=factor, damping=factor).apply(together)
    assert not changed(each, together)


# --- what is written -------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("task", MODELS)
def test_no_undeclared_field_changes(task: str, factor: str) -> None:
    nominal = registry.load(task).spec().compile()
    varied = copy.copy(nominal)
    only(factor, 1.3).apply(varied)
    allowed = {*DECLARED[factor], *(["opt.o_friction"] if factor == "friction" else [])}
    assert changed(nominal, varied) <= allowed


@pytest.mark.parametrize("factor", FACTORS)
def test_no_undeclared_field_changes_in_a_model_of_everything(factor: str) -> None:
    for actuator in ACTUATORS.keys() - REFUSED.keys():
        nominal = compiled(actuator)
        varied = copy.copy(nominal)
        only(factor, 1.3).apply(varied)
        allowed = {*DECLARED[factor], *(["opt.o_friction"] if factor == "friction" else [])}
        assert changed(nominal, varied) <= allowed, actuator


@pytest.mark.parametrize("factor", [0.25, 8.0])
def test_a_factor_on_mass_makes_the_model_that_heavier_bodies_compile_to(factor: float) -> None:
    """Exceptions are a muscle's strength and the solver's scales."""
    text = WORLD % ACTUATORS["muscle"]
    heavier = re.sub(r' mass="([\d.]+)"', lambda found: f' mass="{float(found[1]) * factor}"', text)
    varied = mujoco.MjModel.from_xml_string(text)
    Variant(mass=factor).apply(varied)
    found, expected = arrays(varied), arrays(mujoco.MjModel.from_xml_string(heavier))
    for name in expected.keys() - {"actuator_acc0", "stat.meanmass", "stat.meaninertia"}:
        assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_factor_on_damping_makes_the_deformable_body_that_more_damping_compiles_to() -> None:
    text = WORLD % ""
    more = mujoco.MjModel.from_xml_string(text.replace('damping=".1" elastic2d', 'damping=".2" elastic2d'))
    found = mujoco.MjModel.from_xml_string(text)
    assert changed(found, more) == {"flex_damping", "efm0_L"}
    Variant(damping=2.0).apply(found)
    assert_array_equal(found.flex_damping, more.flex_damping)
    assert_allclose(found.efm0_L, more.efm0_L, rtol=1e-12)


def test_friction_reaches_the_override_of_all_contacts() -> None:
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><option o_friction=".4 .4 .01 .01 .01"><flag override="enable"/></option><worldbody>'
        '<geom type="plane" size="1 1 1"/><body pos="0 0 .09"><freejoint/><geom size=".1"/></body></worldbody></mujoco>'
    )
    Variant(friction=0.5).apply(model)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert_allclose(data.contact.friction, [[0.2, 0.2, 0.005, 0.005, 0.005]])


@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
@pytest.mark.parametrize(("floor", "box"), [("0", "0"), ("1", "0"), ("0", "1")])
def test_friction_reaches_contacts_however_they_combine_geoms(cone: str, floor: str, box: str) -> None:
    """The larger coefficients act, or those of the geom with priority."""
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><option cone="{cone}"/><worldbody>'
        f'<geom type="plane" size="1 1 1" friction=".8 .001 .002" priority="{floor}"/><body pos="0 0 .09"><freejoint/>'
        f'<geom type="box" size=".1 .1 .1" friction=".3 .02 .001" condim="6" priority="{box}"/></body>'
        "</worldbody></mujoco>"
    )
    found = []
    for factor in (1.0, 0.4):
        varied = copy.copy(model)
        Variant(friction=factor).apply(varied)
        data = mujoco.MjData(varied)
        mujoco.mj_forward(varied, data)
        found.append(data.contact.friction.copy())
    assert len(found[0])
    assert_allclose(found[1], 0.4 * found[0])


# --- gain ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["actuator", "joint"])
def test_a_drive_that_saturates_pushes_no_harder(limit: str) -> None:
    model = actuated('<motor joint="hinge" gear="1" forcerange="-1 1"/>')
    if limit == "joint":
        model.actuator_forcelimited[:], model.jnt_actfrclimited[:], model.jnt_actfrcrange[:] = False, True, (-1, 1)
    Variant(gain=3.0).apply(model)
    data = mujoco.MjData(model)
    for control, force in ((0.2, 0.6), (0.9, 1.0), (-0.9, -1.0)):
        data.ctrl[:] = control
        mujoco.mj_forward(model, data)
        assert_allclose(data.qfrc_actuator, force)


@pytest.mark.parametrize("peak", ["-1", "20"])
def test_a_muscle_keeps_its_range_of_lengths(peak: str) -> None:
    """Naive: scale the first parameter, as for a motor. It is the shortest length, so the muscle goes slack."""
    model = actuated(f'<muscle joint="hinge" force="{peak}" lengthrange="-1 1"/>')
    before = copy.copy(model)
    Variant(gain=2.0).apply(model)
    for parameters, nominal in (
        (model.actuator_gainprm, before.actuator_gainprm),
        (model.actuator_biasprm, before.actuator_biasprm),
    ):
        assert_array_equal(np.delete(parameters, [2, 3], axis=1), np.delete(nominal, [2, 3], axis=1))


def test_a_servo_that_is_scaled_holds_where_it_did() -> None:
    model = actuated('<position joint="hinge" kp="3" kv=".5"/>')
    Variant(gain=1.7).apply(model)
    data = mujoco.MjData(model)
    data.qpos[:] = data.ctrl[:] = 0.4
    mujoco.mj_forward(model, data)
    assert_allclose(data.actuator_force, 0.0, atol=1e-12)


@pytest.mark.parametrize("actuator", REFUSED)
def test_a_refusal_names_the_actuator_and_changes_nothing(actuator: str) -> None:
    model = compiled(actuator)
    before = copy.copy(model)
    with pytest.raises(TelosError) as refusal:
        Variant(gain=2.0, mass=2.0, friction=2.0, damping=2.0).apply(model)
    assert REFUSED[actuator] in str(refusal.value)
    assert not changed(before, model)


def test_an_actuator_without_a_name_is_refused_by_number() -> None:
    model = actuated('<motor joint="hinge"/><general joint="hinge" biastype="user"/>')
    with pytest.raises(TelosError, match=r"variant\.gain: given 0\.5; allowed: 1 for actuator number 1"):
        Variant(gain=0.5).apply(model)


@pytest.mark.parametrize("types", ['biastype="dcmotor" gaintype="affine" gainprm="1 2 3"', 'gaintype="user"'])
def test_types_that_do_not_belong_together_are_refused(types: str) -> None:
    model = actuated(f'<general name="odd" joint="hinge" {types}/>')
    with pytest.raises(TelosError, match="actuator 'odd'"):
        Variant(gain=0.5).apply(model)


# --- fields that a reset writes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "factor"),
    [(field, factor) for factor, scaled in SCALED.items() for field in scaled],
)
def test_what_a_reset_writes_is_scaled_as_the_model_was(field: str, factor: str) -> None:
    assert only(factor, 3.0).factor(field) == 3.0
    for other in FACTORS:
        if other != factor:
            assert only(other, 3.0).factor(field) == 1.0


@pytest.mark.parametrize(
    ("field", "factor"),
    [("actuator_gainprm", "gain"), ("actuator_biasprm", "gain"), ("dof_M0", "mass"), ("efm0_L", "damping")],
)
def test_a_reset_that_writes_what_has_no_single_factor_is_refused(field: str, factor: str) -> None:
    task = replace(registry.load(MODELS[0]), params=(field,))
    said = f"variant.{factor}: given 2; allowed: 1 with a task whose reset writes {field}"
    with pytest.raises(TelosError, match=said):
        Environment(task, only(factor, 2.0))
    physics = BatchPhysics(task.spec, (), 0.02, threads=1, variant=only(factor, 2.0))
    with pytest.raises(TelosError, match=said):
        physics.set_params(TaskParams({field: getattr(physics.model, field)}))
    assert Variant(friction=2.0).factor(field) == 1.0
