"""Embedding of MuJoCo states as points: two states are similar where the Euclidean distance of their points is small.

A state is a row of mjSTATE_INTEGRATION (S numbers). Its point holds positions of slides, of hinges with limits and of
free bodies unchanged, hinges without limits as cosine and sine, and rotations in space as the rotation matrix over
sqrt(2). The matrix is the same for quaternions q and -q, and a small rotation moves the point by its angle. Velocities
are multiplied with a time span, and actuator states are unchanged. The point does not contain time, warm start and
inputs. N states, Q quaternions, D size of a point.
"""

from __future__ import annotations

import mujoco
import numpy as np

from envs.physics.batch import columns

FREE, BALL, SLIDE, HINGE = (
    int(getattr(mujoco.mjtJoint, f"mjJNT_{kind}")) for kind in ("FREE", "BALL", "SLIDE", "HINGE")
)


class Embedding:
    """The points of one model's states."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Find the columns of each kind of quantity in a state."""
        begin = columns(model, mujoco.mjtState.mjSTATE_QPOS).start
        plain: list[int] = []
        turns: list[int] = []
        quaternions: list[list[int]] = []
        for kind, limited, address in zip(model.jnt_type, model.jnt_limited, model.jnt_qposadr, strict=True):
            at = begin + int(address)
            if kind == FREE:
                plain += [at, at + 1, at + 2]
            if kind in (FREE, BALL):
                first = at + 3 if kind == FREE else at
                quaternions.append(list(range(first, first + 4)))
            elif kind == HINGE and not limited:
                turns.append(at)
            else:
                plain.append(at)
        self._plain = np.array(plain, dtype=np.int64)
        self._turns = np.array(turns, dtype=np.int64)
        self._quaternions = np.array(quaternions, dtype=np.int64).reshape(-1, 4)
        self._velocities = columns(model, mujoco.mjtState.mjSTATE_QVEL)
        self._actuators = columns(model, mujoco.mjtState.mjSTATE_ACT)

    def points(self, states: np.ndarray, seconds: float) -> np.ndarray:
        """States (N,S) -> points (N,D), in m and rad.

        Args:
            states: (N,S).
            seconds: a velocity counts as the distance that it covers in this time.
        """
        angles = states[:, self._turns]
        return np.concatenate(
            [
                states[:, self._plain],
                np.cos(angles),
                np.sin(angles),
                _matrices(states[:, self._quaternions]) / np.sqrt(2),
                states[:, self._velocities] * seconds,
                states[:, self._actuators],
            ],
            1,
        )


def _matrices(quaternions: np.ndarray) -> np.ndarray:
    """The rotation matrices (N,9 Q) of quaternions (N,Q,4), w first; quaternions are normalised, as in MuJoCo."""
    length = np.linalg.norm(quaternions, axis=2, keepdims=True)
    w, x, y, z = np.moveaxis(quaternions / np.maximum(length, 1e-12), 2, 0)
    rows = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.concatenate(rows, 1)
