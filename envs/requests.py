"""Requests for signals: which signal, and when it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from envs.errors import TelosError

At = Literal["state", "interval"]

# Signals that are whole vectors and have no object.
WHOLE = frozenset({"time", "qpos", "qvel", "act", "ctrl"})

# Signals that belong to a step and not to a state, because MuJoCo computes them while it integrates.
INTERVAL_ONLY = frozenset({"ctrl", "actuator_force", "actuator_power", "contact_force", "strongest_contact"})


# Signals that are positions in the world, (3,) in m. A model's own `sensor/NAME` may be a position too.
POINTS = ("body_position", "inertial_position", "site_position", "geom_position", "center_of_mass")


@dataclass(frozen=True, slots=True, order=True)
class Request:
    """A signal `kind/object`, requested at every state (N,H+1,D) or at every substep inside steps (N,H,K,D).

    For a state-like signal requested at "interval", the last value of a step is that of the state after the step.
    Raises TelosError for a name without a kind or an object, and for a force, power or contact at a state.
    """

    name: str
    at: At

    def __post_init__(self) -> None:
        kind, _, obj = self.name.partition("/")
        if not kind or not (obj or self.name in WHOLE):
            raise TelosError("signal", repr(self.name), "a name of the form kind/object")
        if self.at not in get_args(At):
            raise TelosError(f"signal {self.name}", f"at {self.at!r}", get_args(At))
        if self.at == "state" and kind in INTERVAL_ONLY:
            raise TelosError(f"signal {self.name}", "at 'state'", "'interval' (it exists only inside a step)")
