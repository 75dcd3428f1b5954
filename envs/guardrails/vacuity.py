"""Refuses vacuous rules: rules that no state of a model can break, and that say nothing about safety.

A rule is refused only where this is certain. Undecidable cases, such as whether two bodies will meet, pass.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence

import mujoco
import numpy as np
import torch
from torch import Tensor

from envs.errors import TelosError
from envs.guardrails.guardrail import Guardrail
from envs.guardrails.kinds import KINDS, resolve
from envs.physics import signals
from envs.requests import Request
from envs.task import Task

# Spreads of the sampled states, in the unit of each coordinate. Small ones stay near the pose; large ones leave any
# region where a distance is flat, such as that above the face of a box.
SCALES = (0.0, 1e-3, 0.1, 1.0, 30.0)
DRAWS = 4  # states per pose and scale
KEYFRAMES = 4  # the most poses besides the default one
RESETS = 8  # resets tried, as they may move what no state moves
CONSTANT = 1e-10  # relative to a signal's magnitude, at least 1 unit: above rounding, below any sampled motion
FAR = 1e6  # m; cutoff of distance sensors here, because their own would hide motion beyond it

_CONTACTS = ("contact_force", "strongest_contact")
_OFF = {
    "contact": mujoco.mjtDisableBit.mjDSBL_CONTACT,
    "constraint": mujoco.mjtDisableBit.mjDSBL_CONSTRAINT,
    "sensor": mujoco.mjtDisableBit.mjDSBL_SENSOR,
}
# As ints, because in the order in which `in` compares them, an enum never equals a numpy number.
_BOUNDLESS = {int(getattr(mujoco.mjtGeom, f"mjGEOM_{shape}")) for shape in ("PLANE", "HFIELD", "SDF")}
_FOREIGN = {int(kind) for kind in (mujoco.mjtSensor.mjSENS_USER, mujoco.mjtSensor.mjSENS_PLUGIN)}
_AFFINE_GAINS = {int(kind) for kind in (mujoco.mjtGain.mjGAIN_FIXED, mujoco.mjtGain.mjGAIN_AFFINE)}
_AFFINE_BIASES = {int(kind) for kind in (mujoco.mjtBias.mjBIAS_NONE, mujoco.mjtBias.mjBIAS_AFFINE)}


def insist_breakable(model: mujoco.MjModel, rules: Iterable[Guardrail], task: Task) -> None:
    """Refuse rules that no state of this model can break.

    Args:
        model: the task's model, compiled with the sensors that the rules read; not modified.
        rules: rules that fit the model (`envs.sizes`).
        task: its resets are tried too, because they may move what no state moves.

    Raises:
        TelosError: a margin that is the same at all states, a contact rule on a body that nothing can touch, or a
            tolerance beyond the deepest penetration.
    """
    rules = tuple(rules)
    for rule in rules:
        _insist_contact(model, rule, task.params)
        _insist_overlap(model, rule, task.params)
    readings = {reading.request: reading for reading in _decidable(model, rules)}
    judged = [rule for rule in rules if all(request in readings for request in rule.signals)]
    if not judged:
        return
    probe = _probe(model)
    seen = _looks(probe, readings.values())
    constant = [rule for rule in judged if _is_constant(rule, seen)]
    if not constant:
        return
    for written in _resets(task):
        for name, value in written.items():
            getattr(probe, name)[...] = value
        more = _looks(probe, readings.values())
        seen = {request: torch.cat([seen[request], more[request]]) for request in seen}
    for rule in constant:
        if _is_constant(rule, seen):
            raise _constant(rule, seen)


def _resets(task: Task) -> Iterator[Mapping[str, np.ndarray]]:
    """The model fields that a few resets write, MjModel field -> array, one mapping per reset."""
    if not task.params:
        return
    backend = task.backend()
    try:
        for seed in range(RESETS):
            backend.reset(seed)
            yield {name: np.array(getattr(backend.model, name)) for name in task.params}
    finally:
        backend.close()


def _insist_contact(model: mujoco.MjModel, rule: Guardrail, fields: Sequence[str]) -> None:
    """Raises TelosError for a rule about contacts of a body that can have none."""
    if rule.kind not in _CONTACTS or {"geom_contype", "geom_conaffinity"} & set(fields):
        return
    off = [flag for flag, bit in _OFF.items() if model.opt.disableflags & bit]
    why = f"the model's flag {off[0]!r} is off" if off else "none of its geoms collides with another one"
    if off or not _can_touch(model, model.body(signals.parse(rule.signals[0].name)[1][0]).id):
        given = f"{rule.signals[0].name!r}, which is 0 at all states, as {why}"
        raise TelosError(f"guardrail {rule.name!r}.signals", given, "a body that can be touched")


def _can_touch(model: mujoco.MjModel, body: int) -> bool:
    """Whether MuJoCo's collision filter (contype, conaffinity, pairs, welds) admits contacts of this body."""
    if model.nflex:
        return True
    paired = {int(geom) for geom in (*model.pair_geom1, *model.pair_geom2)}
    weld, parent = model.body_weldid, model.body_weldid[model.body_parentid[model.body_weldid]]
    filtered = not model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_FILTERPARENT
    first = model.body_geomadr[body]
    for geom in range(first, first + model.body_geomnum[body]):
        if geom in paired:
            return True
        masks = (model.geom_contype & model.geom_conaffinity[geom]) | (
            model.geom_contype[geom] & model.geom_conaffinity
        )
        for other in np.flatnonzero(masks):
            theirs = model.geom_bodyid[other]
            a, b = weld[body], weld[theirs]
            family = a != 0 and b != 0 and (a == parent[theirs] or b == parent[body])
            if a != b and not (filtered and family):
                return True
    return False


def _insist_overlap(model: mujoco.MjModel, rule: Guardrail, fields: Sequence[str]) -> None:
    """Raises TelosError for a tolerance that covers even the deepest penetration of two geoms.

    The sum of the radii of their bounding spheres bounds the penetration: convex geoms are apart once their centres are
    that far apart.
    """
    if rule.kind != "geom_distance" or {"geom_size", "geom_type", "geom_rbound"} & set(fields):
        return
    geoms = [model.geom(name) for name in signals.parse(rule.signals[0].name)[1]]
    if any(int(geom.type[0]) in _BOUNDLESS for geom in geoms):
        return
    deepest = float(sum(geom.rbound[0] for geom in geoms)) + rule.params["minimum"]
    if rule.tolerance >= deepest:
        allowed = f"below {deepest:g} m: these geoms cannot overlap more deeply, so nothing could break it"
        raise TelosError(f"guardrail {rule.name!r}.tolerance", rule.tolerance, allowed)


def _decidable(model: mujoco.MjModel, rules: Iterable[Guardrail]) -> Iterator[signals.Reading]:
    """The readings of the rules that depend on joint positions, velocities and controls alone."""
    for reading in signals.layout(model, dict.fromkeys(request for rule in rules for request in rule.signals)):
        if reading.source == "state":
            yield reading
        elif reading.source == "power" or reading.request.name.startswith("actuator_force/"):
            if _is_affine(model, model.actuator(signals.parse(reading.request.name)[1][0]).id):
                yield reading
        elif reading.source == "sensor":
            (sensor,) = np.flatnonzero(model.sensor_adr == reading.start)
            kinematic = model.sensor_needstage[sensor] != mujoco.mjtStage.mjSTAGE_ACC
            foreign = int(model.sensor_type[sensor]) in _FOREIGN
            if kinematic and not foreign and not model.sensor_history[sensor, 0]:
                yield reading


def _is_affine(model: mujoco.MjModel, actuator: int) -> bool:
    """Whether the force depends affinely on control, length and speed, so that sampling shows whether it varies."""
    return bool(
        int(model.actuator_gaintype[actuator]) in _AFFINE_GAINS
        and int(model.actuator_biastype[actuator]) in _AFFINE_BIASES
        and model.actuator_plugin[actuator] < 0
        and not model.actuator_history[actuator, 0]
    )


def _probe(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy of the model without what hides motion (cutoffs, limits of controls and forces, sleep) or costs time."""
    probe = copy.copy(model)
    probe.sensor_cutoff[:] = 0
    probe.sensor_cutoff[probe.sensor_type == mujoco.mjtSensor.mjSENS_GEOMDIST] = FAR
    probe.actuator_forcelimited[:] = 0
    probe.actuator_actlimited[:] = 0
    probe.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT | mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL)
    probe.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
    return probe


def _looks(model: mujoco.MjModel, readings: Iterable[signals.Reading]) -> Mapping[Request, Tensor]:
    """The value (n,D) of each reading at the n sampled states."""
    data = mujoco.MjData(model)
    states, sensed = [], []
    for _ in _states(model, data):
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_sensorPos(model, data)
        mujoco.mj_fwdVelocity(model, data)
        mujoco.mj_sensorVel(model, data)
        mujoco.mj_fwdActuation(model, data)
        mujoco.mj_sensorAcc(model, data)
        states.append(np.concatenate([[data.time], data.qpos, data.qvel, data.act]))  # in the order of `signals.layout`
        sensed.append(data.sensordata.copy())
    from_state, from_sensors = np.array(states), np.array(sensed)
    seen = {}
    for reading in readings:
        if reading.source == "power":
            value = torch.from_numpy(reading.power(from_sensors))
        else:
            value = reading.value((from_state if reading.source == "state" else from_sensors)[:, reading.columns])
        seen[reading.request] = value
    return seen


def _states(model: mujoco.MjModel, data: mujoco.MjData) -> Iterator[None]:
    """Write the sampled states into `data` one by one; each displaces all coordinates of a pose at once."""
    rng = np.random.default_rng(0)
    for key in range(-1, min(model.nkey, KEYFRAMES)):
        for scale in SCALES:
            for _ in range(DRAWS if scale else 1):
                if key < 0:
                    mujoco.mj_resetData(model, data)
                else:
                    mujoco.mj_resetDataKeyframe(model, data, key)
                mujoco.mj_integratePos(model, data.qpos, scale * rng.standard_normal(model.nv), 1.0)
                data.mocap_pos += scale * rng.standard_normal(data.mocap_pos.shape)
                for quaternion in data.mocap_quat:
                    mujoco.mju_quatIntegrate(quaternion, scale * rng.standard_normal(3), 1.0)
                data.qvel += scale * rng.standard_normal(model.nv)
                data.act += scale * rng.standard_normal(model.na)
                data.ctrl += scale * rng.standard_normal(model.nu)
                data.time += scale
                yield


def _is_constant(rule: Guardrail, seen: Mapping[Request, Tensor]) -> bool:
    """Whether the rule's signals, or its margin, are the same at all states, in each component."""
    values = [seen[request] for request in rule.signals]
    if all(_is_flat(value, value) for value in values):
        return True
    if rule.kind not in KINDS:  # of a plug-in: its margin may be constant where we sample, and lower elsewhere
        return False
    return _is_flat(resolve(rule.kind).margin(rule.params, *values), torch.cat(values, dim=-1))


def _is_flat(values: Tensor, signal: Tensor) -> bool:
    """Whether `values` (n,·), computed from `signal`, vary by no more than its rounding; False where any is NaN."""
    spread = values.amax(0) - values.amin(0)
    return bool((spread <= CONSTANT * signal.abs().amax().clamp(min=1)).all())


def _constant(rule: Guardrail, seen: Mapping[Request, Tensor]) -> TelosError:
    values = [seen[request] for request in rule.signals]
    names = " and ".join(repr(request.name) for request in rule.signals)
    given = f"{names}, which is constant in this model"
    if not all(_is_flat(value, value) for value in values):
        margin = float(resolve(rule.kind).margin(rule.params, *values).amin())
        given = f"{names}, whose margin is {margin:.4g} {rule.unit} at all states of this model"
    return TelosError(f"guardrail {rule.name!r}.signals", given, "a signal that moves to and from what is forbidden")
