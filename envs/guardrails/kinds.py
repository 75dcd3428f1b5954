"""The table of guardrail kinds: lazy strings, so that listing them imports neither torch nor a plug-in.

A guardrail stores the name of its kind and plain numbers, and its margin function is looked up here at each use. So it
holds no closure that could be replaced without changing its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from envs.errors import TelosError
from envs.table import Entry, Table

if TYPE_CHECKING:
    from envs.guardrails.config import GuardrailConfig

KINDS: Mapping[str, Entry] = MappingProxyType(
    {
        "joint_position": Entry("envs.guardrails.limits:JointPosition", "a joint stays between bounds (rad or m)"),
        "joint_velocity": Entry("envs.guardrails.limits:JointVelocity", "a joint moves no faster than (rad/s or m/s)"),
        "body_height": Entry("envs.guardrails.bodies:BodyHeight", "a body's height stays between bounds (m)"),
        "body_orientation": Entry("envs.guardrails.bodies:BodyOrientation", "a body's axis tilts at most (rad)"),
        "body_velocity": Entry("envs.guardrails.bodies:BodyVelocity", "a body's speed is at most (m/s)"),
        "keep_out": Entry("envs.guardrails.zones:KeepOut", "a point stays outside a box, sphere or cylinder (m)"),
        "keep_in": Entry("envs.guardrails.zones:KeepIn", "a point stays inside a box (m)"),
        "actuator_force": Entry("envs.guardrails.loads:ActuatorForce", "an actuator's force is at most (N or N·m)"),
        "actuator_power": Entry("envs.guardrails.loads:ActuatorPower", "an actuator's power is at most (W)"),
        "contact_force": Entry("envs.guardrails.loads:ContactForce", "the net contact force on a body is at most (N)"),
        "strongest_contact": Entry(
            "envs.guardrails.loads:StrongestContact", "each contact force on a body is at most (N)"
        ),
        "geom_distance": Entry("envs.guardrails.distances:GeomDistance", "two geoms stay apart by at least (m)"),
    }
)
"""Name -> its class, a GuardrailConfig, and one line about it."""

TABLE = Table("guardrail kind", "telos.guardrails", KINDS)


def kinds() -> Mapping[str, Entry]:
    """All kinds: the built-in ones, and those installed as entry points `telos.guardrails`.

    Raises TelosError when an entry point uses an existing name, because a plug-in must not redefine a rule.
    """
    return TABLE.entries()


@cache
def resolve(kind: str) -> type[GuardrailConfig]:
    """The class that configures and judges guardrails of this kind.

    Raises TelosError for an unknown kind, or one whose class is not a GuardrailConfig of that kind.
    """
    from envs.guardrails.config import (
        GuardrailConfig,
    )  # here, because it imports pydantic

    found = TABLE.load(kind)
    if not (isinstance(found, type) and issubclass(found, GuardrailConfig)):
        raise TelosError(f"guardrail kind {kind}", kinds()[kind].target, "a subclass of GuardrailConfig")
    if found.model_fields["kind"].default != kind:
        raise TelosError(
            f"guardrail kind {kind}", f"{kinds()[kind].target} of another kind", f"kind: Literal[{kind!r}]"
        )
    return found
