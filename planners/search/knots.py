"""Action plans through P knots instead of H free steps; expanding is one matrix product.

P knots, H control steps, N candidates, A action size. A knot plan is (N,P,A), an action plan (N,H,A).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

Interpolation = Literal["zero", "linear", "cubic"]
JOINED = (2, 3)  # action sizes for which one product for all candidates, half of it zeros or more, beats one for each;
JOINED_MOST = 500_000  # multiplications in it: in a larger one BLAS starts threads of its own
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)


@dataclass(frozen=True, eq=False)
class Spline:
    """How P knots become H actions. Get one from `spline`, which keeps them."""

    knots: int  # P
    horizon: int  # H
    matrix: np.ndarray | None  # (H,P), rows sum to 1; None where it is the identity
    inverse: np.ndarray | None  # (P,H), inverse @ matrix is the identity

    def expand(self, knots: np.ndarray) -> np.ndarray:
        """(N,P,A) -> (N,H,A), clipped to [-1,1] (the knots in their place, where they are the actions).

        Knots in [-1,1] are not enough: a cubic overshoots between them, and an average of them by rounding.
        """
        if self.matrix is None:
            return bounded(knots)
        count, _, size = knots.shape
        if size not in JOINED or count * self.knots * self.horizon * size**2 > JOINED_MOST:
            return bounded(self.matrix @ knots)
        joined = knots.reshape(count, self.knots * size) @ _joined(self, size)
        return bounded(joined.reshape(count, self.horizon, size))

    def fit(self, actions: np.ndarray) -> np.ndarray:
        """(...,H,A) -> (...,P,A): knots that follow the actions, clipped to [-1,1]."""
        return actions if self.inverse is None else bounded(self.inverse @ actions)

    def shift(self, knots: np.ndarray, steps: int) -> np.ndarray:
        """(...,P,A) -> (...,P,A): the same plan `steps` control steps later.

        The interpolated plan is shifted, its last action held, and knots are fitted to it.
        """
        if steps == 0:
            return knots
        if self.matrix is None:
            return shift(knots, steps)
        return self.fit(shift(self.matrix @ knots, steps))


@lru_cache(maxsize=64)
def _joined(curve: Spline, size: int) -> np.ndarray:
    """(P*A,H*A): what the matrix does to knots whose components stand side by side."""
    assert curve.matrix is not None
    return np.ascontiguousarray(np.kron(curve.matrix.T, np.eye(size)))


def bounded(actions: np.ndarray) -> np.ndarray:
    """Clipped to [-1,1], in place. (Two plain operations are quicker than `np.clip`.)"""
    np.maximum(actions, -1.0, out=actions)
    return np.minimum(actions, 1.0, out=actions)


def shift(actions: np.ndarray, steps: int) -> np.ndarray:
    """(...,H,A) -> (...,H,A): `steps` later, the last action held. Raises ValueError for negative steps."""
    if steps < 0:
        raise ValueError(f"planners.search.knots.shift: steps = {steps} given, allowed: >= 0")
    horizon = actions.shape[-2]
    return actions[..., np.minimum(np.arange(horizon) + steps, horizon - 1), :]


@lru_cache(maxsize=64)
def spline(interpolation: str, knots: int, horizon: int) -> Spline:
    """The spline of P knots over H steps. Raises ValueError unless 1 <= P <= H.

    zero: each knot holds for about H/P steps. linear, cubic: knots lie on control steps, spread evenly from
    first to last; cubic is Catmull & Rom's (1974), a Hermite cubic whose tangents are central differences.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"planners.search.knots: interpolation = {interpolation!r} given, allowed: {INTERPOLATIONS}")
    if not 1 <= knots <= horizon:
        raise ValueError(f"planners.search.knots: knots = {knots} given, allowed: 1 to horizon = {horizon}")
    if knots == horizon:  # every kind passes through its knots, one at each step
        return Spline(knots, horizon, None, None)
    if interpolation == "zero" or knots == 1:
        segment = np.arange(horizon) * knots // horizon
        matrix = np.eye(knots)[segment]
        # A segment's mean, not its first action: a plan shifted by less than a segment would never move.
        return Spline(knots, horizon, matrix, matrix.T / matrix.sum(0)[:, None])
    steps = np.rint(np.linspace(0, horizon - 1, knots)).astype(int)
    matrix = np.ascontiguousarray(_hermite(interpolation, steps))
    # Read off at the knots, not least squares: fitted again and again, those amplify what they cannot follow.
    return Spline(knots, horizon, matrix, np.eye(horizon)[steps])


def _hermite(interpolation: str, steps: np.ndarray) -> np.ndarray:
    """(H,P) of knots at control steps (P,): column p is what knots become that are 1 at p and 0 elsewhere."""
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
