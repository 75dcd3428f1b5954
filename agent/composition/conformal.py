"""Widths of predicted margins by split conformal prediction.

Lei, G'Sell, Rinaldo, Tibshirani & Wasserman, "Distribution-free predictive inference for regression", JASA 2018. Here
the bound is one-sided, because only a margin that is predicted too large does harm, and it is computed for each step of
the horizon and each guardrail. K trajectories, H control steps, G guardrails.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from envs.guardrails.ruleset import Guardrails, digest_of


@dataclass(frozen=True, eq=False)
class Widths:
    """How much smaller a margin may be than it was predicted, and how many violations are seen with that allowance."""

    digest: str  # of the guardrails whose margins these are
    width: Tensor  # (H,G), >= 0, in each guardrail's unit; +inf where the data are too few
    recall: Tensor  # (G,), share of the steps with a real violation that are judged violated; NaN where there is none
    trajectories: int  # K, from which the widths were computed

    @property
    def sha256(self) -> str:
        """The digest of all of it, computed from the content each time."""
        content = (self.digest, self.width.tolist(), self.recall.tolist(), self.trajectories)
        return hashlib.sha256(repr(content).encode()).hexdigest()


def calibrated(
    rules: Guardrails, predicted: Tensor, real: Tensor, checked_predicted: Tensor, checked_real: Tensor, miss: float
) -> Widths:
    """Widths that cover all but a share `miss` of the predictions at each step, and their recall on other data.

    A new trajectory that is exchangeable with the K calibration trajectories has a margin of at least the widened
    prediction with probability at least 1 - miss, at each step by itself. The prediction's distribution under a
    planner's actions differs from that under others, so calibrate under the planner's.

    Args:
        predicted, real: margins (K,H,G) of rolled-out predictions and of what really happened.
        checked_predicted, checked_real: (K',H,G), the same of other trajectories, to measure the recall on.
        miss: in (0,1).
    """
    if not 0 < miss < 1 or predicted.shape != real.shape or checked_predicted.shape != checked_real.shape:
        raise ValueError(f"conformal widths: miss {miss}, shapes {tuple(predicted.shape)} and {tuple(real.shape)}")
    number = len(predicted)
    rank = math.ceil((number + 1) * (1 - miss))
    excess = torch.where(real.isfinite(), predicted - real, torch.inf).nan_to_num(nan=torch.inf, posinf=torch.inf)
    excess = excess.sort(0).values
    width = torch.full_like(excess[0], torch.inf) if rank > number else excess[rank - 1].clamp(min=0.0)
    steps = checked_predicted.shape[1]
    broken = rules.violated(checked_real).flatten(0, 1)
    seen = rules.violated(checked_predicted - width[:steps]).flatten(0, 1) & broken
    return Widths(digest_of(rules), width, seen.sum(0) / broken.sum(0), number)
