"""The backward pass of iLQR (Riccati recursion) under control limits, as a pure function of an expansion.

Tassa, Erez & Todorov, "Synthesis and stabilization of complex behaviors through online trajectory optimization", IROS
2012, equations 5 to 11; Tassa, Mansard & Todorov, "Control-limited differential dynamic programming", ICRA 2014,
section III. H control steps, A action size, D tangent size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SWEEPS = 100  # projected Newton steps at most; a few are usually enough, and the last iterate is returned in any case
SHORTEST = 1e-6  # shortest step length of their line search
EPSILON = 1e-14  # a smaller relative decrease is lost in rounding
ARMIJO = 0.1  # share of the predicted decrease that a Newton step must achieve (Armijo condition)


@dataclass(frozen=True, eq=False)
class Expansion:
    """Linear dynamics x' = A x + B u of the deviations, and a positive semidefinite quadratic cost."""

    a: np.ndarray  # (H,D,D)
    b: np.ndarray  # (H,D,A)
    x: np.ndarray  # (H,D)
    u: np.ndarray  # (H,A)
    xx: np.ndarray  # (H,D,D)
    uu: np.ndarray  # (H,A,A)
    ux: np.ndarray  # (H,A,D)
    final_x: np.ndarray  # (D,)
    final_xx: np.ndarray  # (D,D)


@dataclass(frozen=True, eq=False)
class Feedback:
    """The affine feedback law u_t = nominal_t + offset_t + gain_t dx_t."""

    offsets: np.ndarray  # (H,A)
    gains: np.ndarray  # (H,A,D), 0 in the rows of actions at a limit
    decrease: float  # predicted decrease of the quadratic cost, >= 0


def backward(model: Expansion, low: np.ndarray, high: np.ndarray, damping: float) -> Feedback:
    """Minimise the quadratic cost plus damping |du|^2 / 2 under low <= du <= high, (H,A) each.

    `damping` > 0 is the regularisation of equation 9. It makes the problem of every step strictly convex. The value
    function does not include it (equations 11a to 11c).
    Raises numpy.linalg.LinAlgError if a number is not finite.
    """
    horizon, _, size = model.b.shape
    offsets, gains = np.zeros((horizon, size)), np.zeros((horizon, size, model.b.shape[1]))
    value_x, value_xx, decrease = model.final_x, model.final_xx, 0.0
    ridge = damping * np.eye(size)
    for t in reversed(range(horizon)):
        a, b = model.a[t], model.b[t]
        ahead = value_xx @ b
        q_x, q_u = model.x[t] + value_x @ a, model.u[t] + value_x @ b
        q_xx = model.xx[t] + a.T @ value_xx @ a
        q_uu, q_ux = model.uu[t] + b.T @ ahead, model.ux[t] + ahead.T @ a
        if not np.isfinite(q_uu).all() or not np.isfinite(q_ux).all() or not np.isfinite(q_u).all():
            raise np.linalg.LinAlgError(f"planners.descent.riccati: step {t} is not finite")
        later = offsets[min(t + 1, horizon - 1)]  # warm start of the box problem: the solution of step t + 1
        k, free = box(q_uu + ridge, q_u, low[t], high[t], later)
        gain = gains[t]
        if free.any():
            gain[free] = -np.linalg.solve((q_uu + ridge)[np.ix_(free, free)], q_ux[free])
        curve = q_uu @ k
        decrease -= float(k @ q_u + 0.5 * (k @ curve))
        value_x = q_x + gain.T @ (curve + q_u) + q_ux.T @ k
        cross = gain.T @ q_ux
        value_xx = q_xx + gain.T @ q_uu @ gain + cross + cross.T
        value_xx = (value_xx + value_xx.T) / 2
        offsets[t] = k
    return Feedback(offsets, gains, max(decrease, 0.0))


def box(
    hessian: np.ndarray, gradient: np.ndarray, low: np.ndarray, high: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise g u + u H u / 2 for low <= u <= high, H positive definite (a box-constrained quadratic program).

    Projected Newton (Bertsekas 1982; Tassa, Mansard & Todorov 2014, section III.A); closed form for A = 1.

    Returns:
        u (A,), and which components are free, i.e. not held at a limit, (A,) bool.
    """
    if len(gradient) == 1:
        best = -gradient / hessian[0]
        u = np.minimum(np.maximum(best, low), high)
        return u, u == best
    u = np.clip(start, low, high)
    slope = gradient + hessian @ u
    free = _free(u, slope, low, high)
    for _ in range(SWEEPS):
        step = np.zeros_like(u)
        step[free] = -np.linalg.solve(hessian[np.ix_(free, free)], slope[free])
        predicted = float(slope @ step)
        moved = _searched(hessian, gradient, low, high, u, step, predicted)
        if moved is None:
            break
        u = moved
        slope = gradient + hessian @ u
        free = _free(u, slope, low, high)
    return u, free


def _free(u: np.ndarray, slope: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The free actions, (A,) bool: all except those at a limit that the descent direction pushes against it."""
    return ~((u <= low) & (slope > 0) | (u >= high) & (slope < 0))


def _searched(
    hessian: np.ndarray,
    gradient: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    u: np.ndarray,
    step: np.ndarray,
    predicted: float,
) -> np.ndarray | None:
    """Backtracking line search along the projection arc, with the Armijo condition; None at the minimum."""
    before, length = float(gradient @ u + 0.5 * u @ hessian @ u), 1.0
    while -length * predicted > EPSILON * abs(before) and length > SHORTEST:
        tried = np.clip(u + length * step, low, high)
        if before - float(gradient @ tried + 0.5 * tried @ hessian @ tried) >= -ARMIJO * length * predicted:
            return tried
        length *= 0.5
    return None
