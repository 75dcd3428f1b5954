"""Risk measures: how the costs of several futures become one cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.errors import TelosError


@dataclass(frozen=True)
class Risk:
    """CVaR_alpha: the mean over the worst share `alpha` of M equally likely members.

    `alpha` = 1 is the mean of all members. `alpha` <= 1/M, 0 included, is the worst case. Where alpha M is not an
    integer, the least bad member of the share has a fractional weight. Rockafellar & Uryasev, "Optimization of
    conditional value-at-risk", 2000; as weights of ranked outcomes: Acerbi, "Spectral measures of risk", 2002.
    """

    alpha: float

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise TelosError("Risk.alpha", self.alpha, "0 (the worst case) to 1 (the mean)")

    def weights(self, totals: np.ndarray) -> np.ndarray:
        """The weight of each member for each candidate, (M,N): >= 0, with sum 1 over members.

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
