"""Differences of MuJoCo states (tangent vectors): a rotation has three numbers instead of a quaternion's four.

A state is a row of mjSTATE_INTEGRATION (S numbers). A tangent vector has D = 2 nv + na numbers, the differences of
positions (as a velocity that is held for one second), of velocities, and of actuator states. It does not contain time,
warm start and inputs.
"""

from __future__ import annotations

import mujoco
import numpy as np

from envs.physics.batch import columns

_SCALAR = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))


class Tangent:
    """The tangent space of one model's states."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Find the columns of positions, velocities and actuator states in a state."""
        self.model = model
        self.size = 2 * model.nv + model.na  # D
        self._qpos = columns(model, mujoco.mjtState.mjSTATE_QPOS)
        self._rest = slice(self._qpos.stop, columns(model, mujoco.mjtState.mjSTATE_ACT).stop)  # velocities, actuators
        self._flat = bool(np.isin(model.jnt_type, _SCALAR).all())  # each position is one plain number

    def displace(self, states: np.ndarray, by: np.ndarray) -> np.ndarray:
        """States (N,S) moved by tangent vectors (N,D): new rows, (N,S)."""
        nv = self.model.nv
        moved = np.array(states)
        moved[:, self._rest] += by[:, nv:]
        if self._flat:
            moved[:, self._qpos] += by[:, :nv]
            return moved
        for row in np.flatnonzero(by[:, :nv].any(1)):  # other rows keep their quaternions bit for bit
            qpos = np.array(moved[row, self._qpos])
            mujoco.mj_integratePos(self.model, qpos, np.ascontiguousarray(by[row, :nv]), 1.0)
            moved[row, self._qpos] = qpos
        return moved

    def difference(self, origin: np.ndarray, states: np.ndarray) -> np.ndarray:
        """The tangent vectors (N,D) that lead from `origin` (N,S) to `states` (N,S): the inverse of `displace`."""
        nv = self.model.nv
        by = np.empty((len(states), self.size))
        by[:, nv:] = states[:, self._rest] - origin[:, self._rest]
        if self._flat:
            by[:, :nv] = states[:, self._qpos] - origin[:, self._qpos]
            return by
        begin, end = np.ascontiguousarray(origin[:, self._qpos]), np.ascontiguousarray(states[:, self._qpos])
        turned = np.empty(nv)
        for row in range(len(by)):
            mujoco.mj_differentiatePos(self.model, turned, 1.0, begin[row], end[row])
            by[row, :nv] = turned
        return by
