"""Augmented Lagrangian (method of multipliers) for guardrails: a penalty on the margins of every step.

Powell 1969, Hestenes 1969 and Rockafellar 1973; for trajectories as in ALTRO (Howell, Jackson & Manchester, IROS 2019,
section III). It affects only the search. The published plan is chosen by `planners.search.select`, which ignores these
penalties.
N candidates, H control steps, G guardrails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from planners.capabilities import Linearisation
from planners.descent.riccati import Expansion
from planners.problem import Limits

STIFFEST = 1e8  # the largest penalty: beyond it, the cost would be lost in rounding


@dataclass(frozen=True, eq=False)
class Lagrangian:
    """The cost plus, for each excess c, (max(0, multiplier + penalty c)^2 - multiplier^2) / (2 penalty)."""

    multipliers: np.ndarray  # (H,G), cost per "1 bad", >= 0
    penalty: float  # cost per squared "1 bad", > 0
    slack: float  # safety distance to the guardrail, in "1 bad"
    limits: Limits

    def excess(self, margin: Tensor) -> np.ndarray:
        """The excess c of margins (…,G): > 0 if a guardrail holds by less than the slack or is violated.

        It is 0 where the margin is not finite.
        """
        excess = self.slack - (margin.detach().numpy() + self.limits.tolerance.numpy()) / self.limits.scale.numpy()
        return np.nan_to_num(excess, posinf=0.0, neginf=0.0)

    def merit(self, cost: np.ndarray, margin: Tensor) -> np.ndarray:
        """The merit that a line search compares, (N,), from costs (N,) and worst margins over time (N,G).

        Only the worst step of a candidate is known here. It is weighted with the sum of the guardrail's multipliers
        over all steps, because an exact penalty on the worst step needs that weight. A margin that is not finite is a
        violation of unknown size, so its candidate has an infinite merit.
        """
        excess = np.maximum(self.excess(margin), 0.0)
        merit = cost + excess @ self.multipliers.sum(0) + 0.5 * self.penalty * np.square(excess).sum(-1)
        return np.where(margin.detach().isfinite().all(-1).numpy(), merit, np.inf)

    def augmented(self, linear: Linearisation) -> Expansion:
        """The expansion of the Lagrangian; its second derivatives are products of margin gradients (Gauss-Newton)."""
        scale = self.limits.scale.numpy()[:, None]
        slope_x, slope_u = -linear.margin_x.numpy() / scale, -linear.margin_u.numpy() / scale
        pull = np.maximum(self.multipliers + self.penalty * self.excess(linear.margin), 0.0)[:, None]
        stiff = (self.penalty * (pull > 0)).transpose(0, 2, 1)
        return Expansion(
            a=linear.state.numpy(),
            b=linear.action.numpy(),
            x=linear.cost_x.numpy() + (pull @ slope_x)[:, 0],
            u=linear.cost_u.numpy() + (pull @ slope_u)[:, 0],
            xx=linear.cost_xx.numpy() + slope_x.transpose(0, 2, 1) @ (stiff * slope_x),
            uu=linear.cost_uu.numpy() + slope_u.transpose(0, 2, 1) @ (stiff * slope_u),
            ux=linear.cost_ux.numpy() + slope_u.transpose(0, 2, 1) @ (stiff * slope_x),
            final_x=linear.terminal_x.numpy(),
            final_xx=linear.terminal_xx.numpy(),
        )

    def updated(self, margin: Tensor, growth: float) -> Lagrangian:
        """The Lagrangian after a round that ended with margins (H,G).

        The multipliers are updated. The penalty grows if a guardrail is violated.
        """
        excess = self.excess(margin)
        multipliers = np.maximum(self.multipliers + self.penalty * excess, 0.0)
        penalty = min(self.penalty * growth, STIFFEST) if (excess > self.slack).any() else self.penalty
        return replace(self, multipliers=multipliers, penalty=penalty)
