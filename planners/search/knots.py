"""Splines: action sequences given by P knots instead of H free steps, expanded by one matrix product.

P knots, H control steps, N candidates, A action size. A knot plan is (N,P,A), an action plan (N,H,A).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

Interpolation = Literal["zero", "linear", "cubic"]
# For these action sizes, one matrix product over all candidates is faster than one product per candidate, although at
# least half of the joined matrix is zeros.
JOINED = (2, 3)
JOINED_MOST = 500_000  # largest number of multiplications in that product; for larger ones BLAS starts its own threads
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)


@dataclass(frozen=True, eq=False)
class Spline:
    """The linear map from P knots to H actions. Created by the function `spline`, which caches splines."""

    knots: int  # P
    horizon: int  # H
    matrix: np.ndarray | None  # (H,P), rows sum to 1; None where it is the identity
    inverse: np.ndarray | None  # (P,H), left inverse: inverse @ matrix is the identity; None where `matrix` is

    def expand(self, knots: np.ndarray) -> np.ndarray:
        """Interpolate knots, (N,P,A) -> (N,H,A), and clip the actions to [-1,1].

        Clipping is needed even for knots in [-1,1]: a cubic overshoots between knots, and a weighted average can exceed
        1 by rounding. If there is one knot per step, the knots are clipped in place and returned.
        """
        if self.matrix is None:
            return bounded(knots)
        count, _, size = knots.shape
        if size not in JOINED or count * self.knots * self.horizon * size**2 > JOINED_MOST:
            return bounded(self.matrix @ knots)
        joined = knots.reshape(count, self.knots * size) @ _joined(self, size)
        return bounded(joined.reshape(count, self.horizon, size))

    def fit(self, actions: np.ndarray) -> np.ndarray:
        """Fit knots to actions, (...,H,A) -> (...,P,A), clipped to [-1,1]."""
        return actions if self.inverse is None else bounded(self.inverse @ actions)

    def shift(self, knots: np.ndarray, steps: int) -> np.ndarray:
        """Shift a plan by `steps` control steps, (...,P,A) -> (...,P,A).

        The knots are expanded, the actions are shifted with the last one held, and new knots are fitted to them.
        """
        if steps == 0:
            return knots
        if self.matrix is None:
            return shift(knots, steps)
        return self.fit(shift(self.matrix @ knots, steps))


@lru_cache(maxsize=64)
def _joined(curve: Spline, size: int) -> np.ndarray:
    """The spline's matrix for knots flattened to (N,P*A): a Kronecker product with the identity, (P*A,H*A)."""
    assert curve.matrix is not None
    return np.ascontiguousarray(np.kron(curve.matrix.T, np.eye(size)))


def bounded(actions: np.ndarray) -> np.ndarray:
    """Clip to [-1,1] in place. (`np.maximum` and `np.minimum` are faster than `np.clip`.)"""
    np.maximum(actions, -1.0, out=actions)
    return np.minimum(actions, 1.0, out=actions)


def shift(actions: np.ndarray, steps: int) -> np.ndarray:
    """Shift actions (...,H,A) by `steps` and hold the last action. Raises ValueError if `steps` is negative."""
    if steps < 0:
        raise ValueError(f"planners.search.knots.shift: steps = {steps} given, allowed: >= 0")
    horizon = actions.shape[-2]
    return actions[..., np.minimum(np.arange(horizon) + steps, horizon - 1), :]


@lru_cache(maxsize=64)
def spline(interpolation: str, knots: int, horizon: int) -> Spline:
    """The spline of P knots over H steps. Raises ValueError unless 1 <= P <= H.

    zero (zero-order hold): each knot is held for about H/P steps.
    linear, cubic: knots lie on control steps, spread evenly from the first to the last. cubic is the Catmull-Rom spline
    (1974), a Hermite cubic whose tangents are central differences.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"planners.search.knots: interpolation = {interpolation!r} given, allowed: {INTERPOLATIONS}")
    if not 1 <= knots <= horizon:
        raise ValueError(f"planners.search.knots: knots = {knots} given, allowed: 1 to horizon = {horizon}")
    if knots == horizon:  # one knot per step: every kind of interpolation is the identity
        return Spline(knots, horizon, None, None)
    if interpolation == "zero" or knots == 1:
        segment = np.arange(horizon) * knots // horizon
        matrix = np.eye(knots)[segment]
        # Fit the mean of a segment, not its first action: otherwise a shift by less than a segment has no effect.
        return Spline(knots, horizon, matrix, matrix.T / matrix.sum(0)[:, None])
    steps = np.rint(np.linspace(0, horizon - 1, knots)).astype(int)
    matrix = np.ascontiguousarray(_hermite(interpolation, steps))
    # Fit by reading the actions at the knots. Repeated least-squares fits would amplify what the spline cannot follow.
    return Spline(knots, horizon, matrix, np.eye(horizon)[steps])


def _hermite(interpolation: str, steps: np.ndarray) -> np.ndarray:
    """Interpolation matrix (H,P) for knots at control steps (P,): column p is the basis function of knot p."""
    unit = np.eye(len(steps))
    time = np.arange(steps[-1] + 1)
    left = np.minimum(np.searchsorted(steps, time, side="right") - 1, len(steps) - 2)
    width = (steps[left + 1] - steps[left])[:, None]
    u = (time - steps[left])[:, None] / width
    if interpolation == "linear":
        return (1 - u) * unit[left] + u * unit[left + 1]
    tangent = np.gradient(unit, steps, axis=0)  # one-sided at both ends
    return (
        (2 * u**3 - 3 * u**2 + 1) * unit[left]
        + (u**3 - 2 * u**2 + u) * width * tangent[left]
        + (3 * u**2 - 2 * u**3) * unit[left + 1]
        + (u**3 - u**2) * width * tangent[left + 1]
    )
