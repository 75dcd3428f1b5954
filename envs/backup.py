"""Back-up controllers: a task declares one to bring its system to rest where the gate refuses the planned action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from envs.errors import GuardrailWeakened, TelosError, nearest

Law = Literal["brake", "hold", "gravity_brake", "retreat"]
MAX_SECONDS = 600.0
_REFERENCED = ("hold", "retreat")  # laws that pull towards a position


@dataclass(frozen=True)
class BackUp:
    """A control law, the time that it is given, and the stop set that it must reach and stay in.

        brake          damps the velocity of every actuator: of a servo around its present length, of any other actuator
                       around zero force
        gravity_brake  as `brake`, but around the force that balances gravity and springs at this pose
        hold           as `gravity_brake`, and returns to the pose in which the stop began: a servo by its own
                       stiffness, any other actuator by `stiffness`
        retreat        as `hold`, but towards `posture`; joints that `posture` does not name are held

    `gain` and `stiffness` are feedback gains, in native control per rad/s and rad (or m/s and m) of the actuator's
    velocity and length. In a model of motors alone, `brake` with a gain sets every control to exactly -gain·v. All
    other feedback is computed through the mass matrix (computed torque: Luh, Walker & Paul, "Resolved-Acceleration
    Control of Mechanical Manipulators", IEEE TAC 25, 1980). It is bounded, because a control is held for a whole step:
    it removes at most half of the speed in one step. A gain of None is that bound. A damper damps as much as it can
    unless the gain is 0. Controls are clipped to their ranges.
    """

    seconds: float  # time given to reach the stop set, s
    rest_speed: float  # stop set: the largest speed of the joints at rest, rad/s or m/s
    gain: float | None = None  # native control per rad/s or m/s
    joints: tuple[str, ...] = ()  # joints that must come to rest; all of them where empty
    law: Law = "brake"
    stiffness: float | None = None  # hold, retreat: native control per rad or m, of non-servos
    posture: tuple[tuple[str, float], ...] = ()  # retreat: joint -> position, rad or m
    within: float | None = None  # retreat, stop set: the largest distance of a joint from `posture`, rad or m

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= MAX_SECONDS:
            raise TelosError("back_up.seconds", self.seconds, f"0 < s <= {MAX_SECONDS:g}")
        if self.gain is not None and not 0 <= self.gain < float("inf"):
            raise TelosError("back_up.gain", self.gain, "native control per rad/s or m/s, >= 0")
        if not 0 < self.rest_speed < float("inf"):
            raise TelosError("back_up.rest_speed", self.rest_speed, "rad/s or m/s > 0")
        if self.law not in get_args(Law):
            raise TelosError("back_up.law", repr(self.law), get_args(Law), nearest(self.law, get_args(Law)))
        if self.stiffness is not None and not 0 <= self.stiffness < float("inf"):
            raise TelosError("back_up.stiffness", self.stiffness, "native control per rad or m, >= 0")
        if self.stiffness is not None and self.law not in _REFERENCED:
            raise TelosError("back_up.stiffness", self.stiffness, f"with law {' or '.join(_REFERENCED)}")
        if (self.law == "retreat") != bool(self.posture) or (self.law == "retreat") != (self.within is not None):
            raise TelosError("back_up", f"law {self.law!r}", "posture and within with law retreat, and with it alone")
        if self.within is not None and not 0 < self.within < float("inf"):
            raise TelosError("back_up.within", self.within, "rad or m > 0")

    def canonical(self) -> dict[str, Any]:
        """All fields as plain JSON data, which is the same for equal back-ups however they were written."""
        return {
            "law": self.law,
            "joints": sorted(set(self.joints)),
            "posture": {name: float(position) for name, position in sorted(self.posture)},
            **{name: None if (value := getattr(self, name)) is None else float(value) for name in _NUMBERS},
        }


_NUMBERS = ("seconds", "rest_speed", "gain", "stiffness", "within")
_SAME = ("law", "seconds", "gain", "stiffness")


def strengthened(base: BackUp | None, new: BackUp | None) -> BackUp | None:
    """The back-up in force when `new` overrides `base`: the same controller with a stricter stop set.

    The time must not change either: the gate checks margins for as long as the back-up runs, so a shorter time would
    check less.

    Raises:
        GuardrailWeakened: another law, gain, stiffness, posture or time, a larger stop set, or fewer joints that must
            come to rest.
    """
    if base is None or new is None:
        return new or base
    for name in _SAME:
        if getattr(new, name) != getattr(base, name):
            raise GuardrailWeakened(f"back_up.{name}", getattr(new, name), f"{getattr(base, name)}, as declared")
    if dict(new.posture) != dict(base.posture):
        raise GuardrailWeakened("back_up.posture", dict(new.posture), f"{dict(base.posture)}, as declared")
    for name in ("rest_speed", "within"):
        ours, theirs = getattr(new, name), getattr(base, name)
        if theirs is not None and ours > theirs:
            raise GuardrailWeakened(f"back_up.{name}", ours, f"at most {theirs}")
    all_joints = not new.joints
    if not all_joints and not (base.joints and set(base.joints) <= set(new.joints)):
        raise GuardrailWeakened("back_up.joints", list(new.joints), f"at least {list(base.joints) or 'all'}")
    return new
