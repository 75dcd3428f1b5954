"""Whether what someone wrote about signals fits the model: do they exist, in which size, in which unit.

A name alone does not tell: sizes come from the compiled model, as `BatchPhysics.readings` has them. So the
checks are made here, once, before anything is simulated, for files (`envs.mjcf`) and configs alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mujoco

from envs import signals
from envs.compiler import compiled
from envs.errors import TelosError, nearest
from envs.guardrails.guardrail import Guardrail
from envs.guardrails.kinds import resolve
from envs.guardrails.ruleset import Guardrails
from envs.requests import Request
from envs.residuals import Residual
from envs.signals import KINDS

# What an environment reads by accident: views for its own reward (ADR 1), which lag behind the state.
LAGGING = ("raw", "post_constraint")
_UNITS = {  # of a slide, of a hinge
    "joint_position": ("m", "rad"),
    "joint_velocity": ("m/s", "rad/s"),
    "actuator_force": ("N", "N·m"),
}
_ON_JOINTS = (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT)


def readable(where: str, name: str) -> Request:
    """The request of a signal that someone wrote down at `where`.

    Raises:
        TelosError: an unknown kind, a lagging view, or a name without its objects.
    """
    kind = name.split("/")[0]
    if kind in LAGGING or kind not in KINDS:
        kinds = [known for known in KINDS if known not in LAGGING]
        raise TelosError(where, repr(name), kinds, nearest(kind, kinds))
    with _said(where, name):
        return signals.request(name)


def sizes(spec: mujoco.MjSpec, wanted: Mapping[str, Request]) -> dict[str, int]:
    """How many components D each request has in this model, by where it was written; `spec` stays as it is.

    Raises:
        TelosError: a signal that the model cannot answer.
    """
    for where, request in wanted.items():
        with _said(where, request.name):
            signals.check(spec, request)
    try:
        found = _sizes_of(spec, wanted.values())
    except (TelosError, ValueError):  # ask again one by one, to say which
        found = {}
        for where, request in wanted.items():
            with _said(where, request.name):
                found |= _sizes_of(spec, [request])
    return {where: found[request] for where, request in wanted.items()}


def check_component(where: str, component: int | None, size: int) -> None:
    """Raises TelosError for a component that a signal of this size lacks (a slice of it would be empty)."""
    if component is not None and component >= size:
        raise TelosError(where, component, f"0 to {size - 1}")


def check_residuals(spec: mujoco.MjSpec, terms: Sequence[Residual], where: str) -> None:
    """Refuse residuals that this model cannot compute.

    Args:
        spec: the model.
        terms: cost or reward terms.
        where: what their list is called, for the errors.

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
        if size == 0:  # a sum over nothing: a cost that is silently zero
            raise TelosError(f"{at}.signal", f"{term.signal!r}, empty in this model", "at least one component")
        other = found.get(f"{at}.reference", 1)
        if other not in (1, size):
            raise TelosError(f"{at}.reference", f"{other} components", f"{size} or 1")
        check_component(f"{at}.component", term.component, size)
        size = size if term.component is None else 1
        if isinstance(term.target, tuple) and len(term.target) != size:
            raise TelosError(f"{at}.target", f"{len(term.target)} numbers", f"one, or {size}")


def check_guardrails(spec: mujoco.MjSpec, rules: Guardrails) -> None:
    """Refuse guardrails that this model cannot judge, or that would judge a joint in another unit than its own.

    Raises:
        TelosError: a signal that the model lacks, a lagging view, another size than the kind needs, a wrong unit.
    """
    if not len(rules):
        return
    wanted: dict[str, Request] = {}
    for rule in rules:
        for i, request in enumerate(rule.signals):
            readable(_place(rule, i), request.name)
            wanted[_place(rule, i)] = request
    found = sizes(spec, wanted)
    for rule in rules:
        needed = resolve(rule.kind).components
        for i, request in enumerate(rule.signals):
            size = found[_place(rule, i)]
            if size == 0 or needed not in (None, size):
                allowed = f"a signal with {needed or 'at least 1'} component(s)"
                raise TelosError(_place(rule, i), f"{request.name!r}, which has {size}", allowed)
        joint = _joint(spec, rule)
        if joint is not None:
            slides = joint.type == mujoco.mjtJoint.mjJNT_SLIDE
            unit = _UNITS[rule.kind][0 if slides else 1]
            if rule.unit != unit:
                moves = f"joint {joint.name!r} {'slides' if slides else 'turns'}"
                raise TelosError(f"guardrail {rule.name!r}.unit", repr(rule.unit), f"{unit!r}: {moves}")


def _joint(spec: mujoco.MjSpec, rule: Guardrail) -> Any:
    """The joint that says in which unit the rule is; None where none does."""
    if rule.kind not in _UNITS:
        return None
    name = signals.parse(rule.signals[0].name)[1][0]
    if rule.kind != "actuator_force":
        return spec.joint(name)
    actuator = spec.actuator(name)
    return spec.joint(actuator.target) if actuator.trntype in _ON_JOINTS else None


def _place(rule: Guardrail, index: int) -> str:
    return f"guardrail {rule.name!r}.signals" + (f"[{index}]" if len(rule.signals) > 1 else "")


def _sizes_of(spec: mujoco.MjSpec, requests: Iterable[Request]) -> dict[Request, int]:
    requests = tuple(dict.fromkeys(requests))
    probe = spec.copy()
    signals.add_sensors(probe, requests)
    model = compiled(probe)
    return {reading.request: reading.size for reading in signals.layout(model, requests)}


@contextmanager
def _said(where: str, name: str) -> Iterator[None]:
    """Errors about a signal as errors about the place where it was written."""
    try:
        yield
    except TelosError as error:
        raise TelosError(where, repr(name), error.allowed, error.nearest) from None
    except ValueError as error:  # MuJoCo's compiler
        raise TelosError(where, repr(name), f"a signal that MuJoCo can compute ({error})") from None
