"""The data of an imagined future that costs and guardrails read, the same for every world model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Signals:
    """Named physical quantities in SI units.

    N candidates, H control steps, K physics substeps per control step, D components.
    """

    state: Mapping[str, Tensor] = field(default_factory=dict)  # name -> (N,H+1,D), at every state
    interval: Mapping[str, Tensor] = field(default_factory=dict)  # name -> (N,H,K,D), inside steps

    def before(self, name: str, component: int | slice = slice(None)) -> Tensor:
        """The signal at the state before each step, (N,H,D); (N,H) for a single component."""
        return self.state[name][:, :-1, component]

    def after(self, name: str, component: int | slice = slice(None)) -> Tensor:
        """The signal at the state after each step, (N,H,D); (N,H) for a single component."""
        return self.state[name][:, 1:, component]

    def last(self, name: str, component: int | slice = slice(None)) -> Tensor:
        """An interval signal at the last substep of each step, (N,H,D); (N,H) for a single component."""
        return self.interval[name][:, :, -1, component]


@dataclass(frozen=True)
class Trajectory:
    """An imagined (or a real) future of N candidates.

    States stay in the model's own dtype and on its own device; everything else is on the CPU.
    """

    states: Tensor  # (N,H+1,S), the model's own state
    actions: Tensor  # (N,H,A), in [-1,1]
    signals: Signals
    valid: Tensor  # (N,) bool, False where the simulation diverged
    doubt: Tensor  # (N,H), the model's own disagreement; zero for the simulator
    dt: float  # s per control step

    @property
    def horizon(self) -> int:
        return int(self.actions.shape[1])


def home(tensor: Tensor) -> Tensor:
    """The tensor as float64 on the CPU, where planners read it; the tensor itself where it is that already."""
    there = tensor.dtype == torch.float64 and tensor.device.type == "cpu"  # the test is quicker than the call
    return tensor if there else tensor.to("cpu", torch.float64)


def zeros(*shape: int) -> Tensor:
    """Float64 zeros, made by numpy, which between simulations is several times faster than torch."""
    return torch.from_numpy(np.zeros(shape))


@lru_cache(maxsize=256)
def nothing(*shape: int) -> Tensor:
    """An empty float64 tensor, shared between callers because it has no elements to write.

    Raises ValueError where no length is 0.
    """
    if 0 not in shape:
        raise ValueError(f"envs.trajectory.nothing: shape {shape} given, allowed: one with a 0")
    return zeros(*shape)


def no_doubt(actions: Tensor) -> Tensor:
    """Zero doubt, (N,H), for a model that estimates none."""
    return zeros(*actions.shape[:2])
