"""Which signal is wanted, and when it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from envs.errors import TelosError

At = Literal["state", "interval"]

# These are whole vectors, and have no object.
WHOLE = frozenset({"time", "qpos", "qvel", "act", "ctrl"})

# These belong to a step, not to a state: MuJoCo computes them while it integrates.
INTERVAL_ONLY = frozenset({"ctrl", "actuator_force", "actuator_power", "contact_force", "strongest_contact"})


# Where something is in the world, (3,) in m. A model's own `sensor/NAME` may be such a point too.
POINTS = ("body_position", "inertial_position", "site_position", "geom_position", "center_of_mass")


@dataclass(frozen=True, slots=True, order=True)
class Request:
    """A signal `kind/object`, wanted at every state (N,H+1,D) or at every substep inside steps (N,H,K,D).

    A state-like signal asked for as "interval" ends, in each step, with its value at the state after it.
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
