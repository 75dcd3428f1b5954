"""Simulation under a feedback law.

N laws, H control steps, A action size, S state size, D tangent size of a model, M models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from envs.trajectory import home
from worldmodels.belief import Belief
from worldmodels.model import Branching, Displaceable, WorldModel


def tracked(models: Sequence[WorldModel], start: Belief, nominal: Tensor, offsets: Tensor, gains: Tensor) -> Tensor:
    """The actions (N,H,A) of u_t = clip(nominal_t + offset_t + gain_t (x_t - nominal x_t)); see `Linearisable.track`.

    x is the concatenated state of all models under the same actions. The nominal trajectories are simulated as one more
    candidate. Feedback that is not finite, as after a diverged simulation, counts as 0.

    Args:
        gains: (H,A,M D).
    """
    number, horizon = offsets.shape[:2]
    states = [_branching(model).root(start).expand(number + 1, -1).contiguous() for model in models]
    planned, feedback = (nominal + offsets).numpy(), gains.numpy()
    taken = np.empty((number + 1, *nominal.shape))
    taken[-1] = nominal
    for t in range(horizon):
        away = torch.cat([_apart(model, at) for model, at in zip(models, states, strict=True)], 1).numpy()
        taken[:-1, t] = np.clip(planned[:, t] + np.nan_to_num(away @ feedback[t].T, posinf=0.0, neginf=0.0), -1.0, 1.0)
        if t + 1 < horizon:
            step = torch.from_numpy(taken[:, t : t + 1])
            states = [_branching(m).branch(start, at, step).states[:, 1] for m, at in zip(models, states, strict=True)]
    return torch.from_numpy(taken[:-1])


def _branching(model: WorldModel) -> Branching:
    assert isinstance(model, Branching)
    return model


def _apart(model: WorldModel, states: Tensor) -> Tensor:
    """The differences (N,D) of all states from the last one, the nominal."""
    assert isinstance(model, Displaceable)
    return home(model.difference(states[-1:].expand(len(states) - 1, -1), states[:-1]).detach())
