"""The belief, which perception makes and from which every imagined future starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.task import Snapshot


@dataclass(frozen=True)
class Belief:
    """The agent's estimate of the state of the world."""

    snapshot: Snapshot | None  # believed simulator state; None where only features are perceived
    features: np.ndarray  # (F,), the flattened observation, or a stack of them where perception stacks
