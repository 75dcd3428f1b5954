"""How the costs of several futures become one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.errors import TelosError


@dataclass(frozen=True)
class Risk:
    """CVaR_alpha: the mean over the worst share `alpha` of M equally likely members.

    `alpha` = 1 is the mean of all, and up to 1/M (so also 0) it is the worst case. Where alpha M is not whole, the
    last member that counts does so in part. Rockafellar & Uryasev, "Optimization of conditional value-at-risk", 2000;
    as weights of ranked outcomes: Acerbi, "Spectral measures of risk", 2002.
    """

    alpha: float

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise TelosError("Risk.alpha", self.alpha, "0 (the worst case) to 1 (the mean)")

    def weights(self, totals: np.ndarray) -> np.ndarray:
        """How much each member counts for each candidate, (M,N): >= 0, with sum 1 over members.

        Args:
            totals: cost of whole trajectories, (M,N).
        """
        members = len(totals)
        share = max(self.alpha * members, 1.0)
        ranked = np.clip(share - np.arange(members), 0.0, 1.0) / share
        weights = np.empty(totals.shape)
        np.put_along_axis(weights, np.argsort(-totals, axis=0, kind="stable"), ranked[:, None], axis=0)
        return weights


MEAN = Risk(1.0)


WORST = Risk(0.0)
