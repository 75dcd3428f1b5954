"""The records that memory keeps of an episode."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Episode:
    """One episode as arrays, T control steps."""

    states: np.ndarray  # (T+1,S), believed integration states (or features)
    actions: np.ndarray  # (T,A), executed, in [-1,1]
    costs: np.ndarray  # (T,), minus the environment's own reward
    margins: np.ndarray  # (T,G), as the monitor judged them

    def __len__(self) -> int:
        return len(self.actions)

    def check(self) -> None:
        """Raises ValueError where lengths, axes or types of the arrays do not fit together."""
        steps = len(self)
        lengths = (len(self.states) - 1, len(self.costs), len(self.margins))
        axes = (self.states.ndim, self.actions.ndim, self.costs.ndim, self.margins.ndim)
        kinds = {getattr(self, part.name).dtype.kind for part in fields(self)}
        if lengths != (steps,) * 3 or axes != (2, 2, 1, 2) or kinds != {"f"}:
            raise ValueError("arrays that do not fit together")


@dataclass(frozen=True)
class Window:
    """L consecutive steps of one episode."""

    episode: int
    step: int
    states: np.ndarray  # (L+1,S)
    actions: np.ndarray  # (L,A)
    costs: np.ndarray  # (L,)
    margins: np.ndarray  # (L,G)
