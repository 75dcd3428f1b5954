"""The table of guardrail kinds: lazy strings, so that listing them imports neither torch nor a plug-in.

A guardrail stores the *name* of its kind and plain numbers; what it computes is looked up here each time. So
there is no closure inside it that could be swapped behind the back of its digest.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from envs.errors import TelosError

if TYPE_CHECKING:
    from envs.guardrails.config import GuardrailConfig

ENTRY_POINTS = "telos.guardrails"


class Kind(NamedTuple):
    """Where a kind is implemented, and what it holds."""

    target: str  # "module:Class", the class a GuardrailConfig
    about: str  # one line


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "joint_position": Kind("envs.guardrails.limits:JointPosition", "a joint stays between bounds (rad or m)"),
        "joint_velocity": Kind("envs.guardrails.limits:JointVelocity", "a joint moves no faster than (rad/s or m/s)"),
        "body_height": Kind("envs.guardrails.bodies:BodyHeight", "a body's height stays between bounds (m)"),
        "body_orientation": Kind("envs.guardrails.bodies:BodyOrientation", "a body's axis tilts at most (rad)"),
        "body_velocity": Kind("envs.guardrails.bodies:BodyVelocity", "a body's speed is at most (m/s)"),
        "keep_out": Kind("envs.guardrails.zones:KeepOut", "a point stays outside a box, sphere or cylinder (m)"),
        "keep_in": Kind("envs.guardrails.zones:KeepIn", "a point stays inside a box (m)"),
        "actuator_force": Kind("envs.guardrails.loads:ActuatorForce", "an actuator's force is at most (N or N·m)"),
        "actuator_power": Kind("envs.guardrails.loads:ActuatorPower", "an actuator's power is at most (W)"),
        "contact_force": Kind("envs.guardrails.loads:ContactForce", "the net contact force on a body is at most (N)"),
        "strongest_contact": Kind(
            "envs.guardrails.loads:StrongestContact", "each contact force on a body is at most (N)"
        ),
        "geom_distance": Kind("envs.guardrails.distances:GeomDistance", "two geoms stay apart by at least (m)"),
    }
)


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind there is, ours and those installed as entry points `telos.guardrails`.

    Raises TelosError when an entry point takes a name that is taken: a stranger must not redefine a rule.
    """
    found = dict(KINDS)
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in found:
            raise TelosError(f"entry point {ENTRY_POINTS}", f"{point.name} = {point.value}", "a name not taken yet")
        found[point.name] = Kind(point.value, f"from {point.value}")
    return MappingProxyType(found)


@cache
def resolve(kind: str) -> type[GuardrailConfig]:
    """The class that configures and judges guardrails of this kind.

    Raises TelosError for a kind nobody defines, or one whose class is not a GuardrailConfig of that kind.
    """
    from envs.guardrails.config import (
        GuardrailConfig,
    )  # imports pydantic and Guardrail, which imports this file

    entry = KINDS.get(kind) or kinds().get(kind)
    if entry is None:
        raise TelosError.unknown("guardrail kind", kind, kinds())
    module, _, name = entry.target.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise TelosError(f"guardrail kind {kind}", f"{entry.target}: {error}", "module:Class") from error
    if not (isinstance(found, type) and issubclass(found, GuardrailConfig)):
        raise TelosError(f"guardrail kind {kind}", entry.target, "a subclass of GuardrailConfig")
    if found.model_fields["kind"].default != kind:
        raise TelosError(f"guardrail kind {kind}", f"{entry.target} of another kind", f"kind: Literal[{kind!r}]")
    return found
