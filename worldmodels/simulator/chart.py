"""Plain coordinates of MuJoCo states: positions and velocities of hinges and slides.

A state is a row of mjSTATE_INTEGRATION. N states, S numbers each, D coordinates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.errors import TelosError
from envs.physics.batch import BatchPhysics, columns
from envs.task import TaskParams
from worldmodels.model import Chart

PLAIN = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
NUMERICS = ("timestep", "integrator", "solver", "iterations", "noslip_iterations", "disableflags")
# The parts that a solver or an actuator carries over from the previous step; 0 in a state made from coordinates.
CARRIED = (
    mujoco.mjtState.mjSTATE_ACT,
    mujoco.mjtState.mjSTATE_HISTORY,
    mujoco.mjtState.mjSTATE_WARMSTART,
    mujoco.mjtState.mjSTATE_CTRL,
)


@dataclass(frozen=True, eq=False)
class Joints:
    """A model's plain coordinates, and their columns in a state."""

    chart: Chart
    columns: slice  # of a state: positions, then velocities


def joints(model: mujoco.MjModel) -> Joints:
    """The coordinates of a model without rotations in space.

    Hinges without limits are periodic in [-pi,pi); slides without limits, and all velocities, have no bounds.
    Raises TelosError for ball and free joints.
    """
    names = [model.joint(i).name or f"joint {i}" for i in range(model.njnt)]
    for name, kind in zip(names, model.jnt_type, strict=True):
        if kind not in PLAIN:
            allowed = "hinge and slide joints: a rotation in space has no plain coordinates"
            raise TelosError(f"chart: joint {name!r}", mujoco.mjtJoint(kind).name, allowed)
    limited = model.jnt_limited.astype(bool)
    turns = ~limited & (model.jnt_type == PLAIN[0])
    reach = np.where(turns, np.pi, np.inf)
    endless = np.full(model.nv, np.inf)
    units = ["rad" if kind == PLAIN[0] else "m" for kind in model.jnt_type]
    chart = Chart(
        (*names, *(f"{name} velocity" for name in names)),
        np.concatenate([np.where(limited, model.jnt_range[:, 0], -reach), -endless]),
        np.concatenate([np.where(limited, model.jnt_range[:, 1], reach), endless]),
        np.concatenate([turns, np.zeros(model.nv, bool)]),
        (*units, *(f"{unit}/s" for unit in units)),
    )
    begin = columns(model, mujoco.mjtState.mjSTATE_QPOS).start
    return Joints(chart, slice(begin, begin + model.nq + model.nv))


def read(model: mujoco.MjModel, states: np.ndarray) -> np.ndarray:
    """The coordinates (N,D) of states (N,S), periodic ones in [-pi,pi). Raises TelosError as `joints` does."""
    known = joints(model)
    found = states[:, known.columns].copy()
    turns = known.chart.periodic
    # Rounding can give +pi, which is the same angle as -pi.
    wrapped = (found[:, turns] + np.pi) % (2 * np.pi) - np.pi
    found[:, turns] = np.where(wrapped >= np.pi, -np.pi, wrapped)
    return found


def write(model: mujoco.MjModel, like: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """States (N,S) with coordinates (N,D), `CARRIED` parts at 0, and the rest as in `like` (S,).

    Raises TelosError as `joints` does, and for a wrong number of coordinates.
    """
    known = joints(model)
    size = len(known.chart.names)
    if coordinates.shape[1:] != (size,):
        raise TelosError("place: coordinates", f"shape {coordinates.shape}", f"(N,{size})")
    states = np.repeat(like[None], len(coordinates), 0)
    states[:, known.columns] = coordinates
    for carried in CARRIED:
        states[:, columns(model, carried)] = 0.0
    return states


def identity(task_id: str, physics: BatchPhysics, coupling: tuple[float, ...], params: TaskParams) -> str:
    """SHA-256 of all that a control step's result depends on: task, coupling, numerics, variant, reset parameters.

    Args:
        task_id: the task's.
        physics: its numerics and variant.
        coupling: control period in s, then the native bounds of the actions.
        params: the reset's parameters.
    """
    option = physics.model.opt
    numerics = [getattr(option, name) for name in NUMERICS]
    text = repr((task_id, coupling, numerics, physics.variant))
    digest = hashlib.sha256(text.encode())
    for group in (params.model, params.attributes):
        _add(digest, group)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, values: Mapping[str, np.ndarray]) -> None:
    for name in sorted(values):
        array = np.ascontiguousarray(values[name])
        digest.update(repr((name, array.shape, array.dtype.str)).encode())
        digest.update(array.tobytes())
