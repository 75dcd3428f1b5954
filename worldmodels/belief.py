"""What perception holds to be true: where every imagination starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.task import Snapshot


@dataclass(frozen=True)
class Belief:
    """What the agent holds to be true."""

    snapshot: Snapshot | None  # believed simulator state; None where only features are perceived
    features: np.ndarray  # (F,), the observation, flattened, stacked where perception stacks
