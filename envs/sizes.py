"""Checks that signals named by the user fit the model: existence, size and unit.

A name does not tell the size, which comes from the compiled model, as in `BatchPhysics.readings`. So the checks are
made here, once, before anything is simulated, for files (`envs.mjcf.task`) and configs alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mujoco

from envs.errors import TelosError, nearest
from envs.guardrails.guardrail import Guardrail
from envs.guardrails.kinds import resolve
from envs.guardrails.ruleset import Guardrails
from envs.guardrails.vacuity import insist_breakable
from envs.physics import signals
from envs.physics.compiler import compiled, shrink_textures
from envs.physics.signals import KINDS
from envs.requests import POINTS, Request
from envs.residuals import Residual
from envs.task import Task

# Signals that lag behind the state, which some environments read by accident. Only their own rewards use them (ADR 1).
LAGGING = ("raw", "post_constraint")
_UNITS = {  # of a slide, of a hinge
    "joint_position": ("m", "rad"),
    "joint_velocity": ("m/s", "rad/s"),
    "actuator_force": ("N", "N·m"),
}
_POSITION_SENSORS = (mujoco.mjtSensor.mjSENS_FRAMEPOS, mujoco.mjtSensor.mjSENS_SUBTREECOM)
_ON_JOINTS = (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT)


def readable(where: str, name: str) -> Request:
    """The request of a signal that the user named at `where`.

    Raises:
        TelosError: an unknown kind, a lagging signal, or a name without its objects.
    """
    kind = name.split("/")[0]
    if kind in LAGGING or kind not in KINDS:
        kinds = [known for known in KINDS if known not in LAGGING]
        raise TelosError(where, repr(name), kinds, nearest(kind, kinds))
    with _said(where, name):
        return signals.request(name)


def sizes(spec: mujoco.MjSpec, wanted: Mapping[str, Request]) -> dict[str, int]:
    """The number of components D of each request in this model, by where it was written; `spec` is not modified.

    Raises:
        TelosError: a signal that the model cannot provide.
    """
    return {where: reading.size for where, reading in _laid_out(spec, wanted)[1].items()}


def check_component(where: str, component: int | None, size: int) -> None:
    """Raises TelosError for a component that a signal of this size lacks (a slice of it would be empty)."""
    if component is not None and component >= size:
        raise TelosError(where, component, f"0 to {size - 1}")


def check_residuals(spec: mujoco.MjSpec, terms: Sequence[Residual], where: str) -> None:
    """Refuse residuals that this model cannot compute.

    Args:
        spec: the model.
        terms: cost or reward terms.
        where: the name of their list in error messages.

    Raises:
        TelosError: a signal, component, reference or target that does not fit.
    """
    if not terms:
        return
    wanted: dict[str, Request] = {}
    for i, term in enumerate(terms):
        for key, name in (("signal", term.signal), ("reference", term.reference)):
            if name is not None:
                wanted[f"{where}[{i}].{key}"] = readable(f"{where}[{i}].{key}", name)
    found = sizes(spec, wanted)
    for i, term in enumerate(terms):
        at = f"{where}[{i}]"
        size = found[f"{at}.signal"]
        if size == 0:  # an empty sum, whose cost would silently be zero
            raise TelosError(f"{at}.signal", f"{term.signal!r}, empty in this model", "at least one component")
        other = found.get(f"{at}.reference", 1)
        if other not in (1, size):
            raise TelosError(f"{at}.reference", f"{other} components", f"{size} or 1")
        check_component(f"{at}.component", term.component, size)
        size = size if term.component is None else 1
        if isinstance(term.target, tuple) and len(term.target) != size:
            raise TelosError(f"{at}.target", f"{len(term.target)} numbers", f"one, or {size}")


def check_guardrails(task: Task, rules: Guardrails) -> None:
    """Refuse guardrails that do not fit this task's model, or that no state of the model can break.

    Raises:
        TelosError: a signal that the model lacks, a lagging signal, another size than the kind needs, a wrong unit, a
            point that is not a position, a rule that no state of the model can break.
    """
    if not len(rules):
        return
    wanted: dict[str, Request] = {}
    for rule in rules:
        for i, request in enumerate(rule.signals):
            readable(_place(rule, i), request.name)
            wanted[_place(rule, i)] = request
    spec = task.spec()
    model, found = _laid_out(spec, wanted)
    for rule in rules:
        kind = resolve(rule.kind)
        for i, request in enumerate(rule.signals):
            size = found[_place(rule, i)].size
            if size == 0 or kind.components not in (None, size):
                allowed = f"a signal with {kind.components or 'at least 1'} component(s)"
                raise TelosError(_place(rule, i), f"{request.name!r}, which has {size}", allowed)
            if kind.positions:
                _check_position(_place(rule, i), request.name, spec)
        joint = _joint(spec, rule)
        if joint is not None:
            slides = joint.type == mujoco.mjtJoint.mjJNT_SLIDE
            unit = _UNITS[rule.kind][0 if slides else 1]
            if rule.unit != unit:
                moves = f"joint {joint.name!r} {'slides' if slides else 'turns'}"
                raise TelosError(f"guardrail {rule.name!r}.unit", repr(rule.unit), f"{unit!r}: {moves}")
    insist_breakable(model, rules, task)


def _check_position(where: str, name: str, spec: mujoco.MjSpec) -> None:
    """Raises TelosError for a signal that is not a position, because its distance to a zone would be meaningless."""
    kind, objects = signals.parse(name)
    of_points = [sensor.name for sensor in spec.sensors if sensor.type in _POSITION_SENSORS and sensor.name]
    if kind not in POINTS and not (kind == "sensor" and objects[0] in of_points):
        allowed = [*(f"{known}/…" for known in POINTS), *(f"sensor/{known}" for known in of_points)]
        raise TelosError(where, f"{name!r}, which is no position", allowed, nearest(name, allowed[len(POINTS) :]))


def _joint(spec: mujoco.MjSpec, rule: Guardrail) -> Any:
    """The joint that determines the rule's unit; None where there is none."""
    if rule.kind not in _UNITS:
        return None
    name = signals.parse(rule.signals[0].name)[1][0]
    if rule.kind != "actuator_force":
        return spec.joint(name)
    actuator = spec.actuator(name)
    return spec.joint(actuator.target) if actuator.trntype in _ON_JOINTS else None


def _place(rule: Guardrail, index: int) -> str:
    return f"guardrail {rule.name!r}.signals" + (f"[{index}]" if len(rule.signals) > 1 else "")


def _laid_out(spec: mujoco.MjSpec, wanted: Mapping[str, Request]) -> tuple[mujoco.MjModel, dict[str, signals.Reading]]:
    """The compiled model with the sensors of all requests, and their readings by where each was written.

    Raises TelosError for a signal that the model cannot provide.
    """
    for where, request in wanted.items():
        with _said(where, request.name):
            signals.check(spec, request)
    try:
        model = _compiled(spec, wanted.values())
        return model, dict(zip(wanted, signals.layout(model, wanted.values()), strict=True))
    except (TelosError, ValueError):  # try them one by one, to name the wrong one
        for where, request in wanted.items():
            with _said(where, request.name):
                signals.layout(_compiled(spec, [request]), [request])
        raise


def _compiled(spec: mujoco.MjSpec, requests: Iterable[Request]) -> mujoco.MjModel:
    """The model with the sensors that the requests need; `spec` is not modified."""
    probe = spec.copy()
    signals.add_sensors(probe, requests)
    shrink_textures(probe)
    return compiled(probe)


@contextmanager
def _said(where: str, name: str) -> Iterator[None]:
    """Turn errors about a signal into errors that name the place where it was written."""
    try:
        yield
    except TelosError as error:
        raise TelosError(where, repr(name), error.allowed, error.nearest) from None
    except ValueError as error:  # MuJoCo's compiler
        raise TelosError(where, repr(name), f"a signal that MuJoCo can compute ({error})") from None
