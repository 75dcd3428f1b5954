"""A JEPA as a world model: beliefs are encoded once, and futures are rolled out in latent space.

N candidates, H control steps, K control steps of an edge, D latent size, F observed features, A action size, M members.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from envs.errors import TelosError
from envs.requests import Request
from envs.trajectory import Signals, Trajectory
from worldmodels.belief import Belief
from worldmodels.jepa.networks import Networks
from worldmodels.layers import root
from worldmodels.model import Source, Spent


class Probe(nn.Module):
    """An affine map from latents to named signals at a state, fitted apart from the model."""

    weight: Tensor  # (D,O)
    bias: Tensor  # (O,)

    def __init__(self, size: int, sizes: Mapping[str, int]) -> None:
        """
        Args:
            size: D.
            sizes: signal -> its components; O of all signals, in this order.
        """
        super().__init__()
        self.sizes = dict(sizes)
        self.register_buffer("weight", torch.zeros(size, sum(self.sizes.values())))
        self.register_buffer("bias", torch.zeros(sum(self.sizes.values())))

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        """(…,D) -> signal -> (…,components)."""
        found = latents @ self.weight + self.bias
        return dict(zip(self.sizes, found.split(list(self.sizes.values()), -1), strict=True))


class Jepa:
    """The futures that one predictor rolls out."""

    stride = 1
    starts_from: Source = "observation"
    sha256 = ""  # of the checkpoint that it was read from

    def __init__(self, networks: Networks, dt: float, probe: Probe | None = None, member: int = 0) -> None:
        """
        Args:
            networks: trained ones; they are not changed here.
            dt: s per control step.
            probe: reads signals off latents; no signals where None.
            member: which of the networks' predictors.
        """
        self.networks = networks.eval()
        self.dt, self.action_size = dt, networks.action_size
        self.probe, self.member = probe, member
        self.signals = frozenset(Request(name, "state") for name in (probe.sizes if probe else ()))
        self.spent = Spent()

    def imagine(self, start: Belief, actions: Tensor, states: bool = False) -> Trajectory:
        with torch.inference_mode():
            found = self.branch(start, self.root(start).expand(len(actions), -1), actions)
        return found if states else replace(found, states=found.states[..., :0])

    # --- Branching, Differentiable ------------------------------------------------------------------------------

    def resumable(self) -> bool:
        return True

    def root(self, start: Belief) -> Tensor:
        """(1,D). Raises TelosError for features of another size than the model was trained on."""
        seen = np.asarray(start.features, dtype=np.float32)
        if seen.shape != (self.networks.inputs.features,):
            allowed = f"({self.networks.inputs.features},), as the model was trained on"
            raise TelosError("world_model: features", f"shape {seen.shape}", allowed)
        with torch.no_grad():
            return self.networks.encode(torch.from_numpy(seen).to(self._device)[None])

    def branch(self, start: Belief, states: Tensor, actions: Tensor) -> Trajectory:
        first, moves = self._own(states), self._own(actions)
        (path,) = self.networks.roll(first, moves, self.member)
        self._count(actions, 1)
        return self._told(first, path, actions, path.new_zeros(actions.shape[:2]))

    def differentiate(self, start: Belief, actions: Tensor) -> Trajectory:
        return self.branch(start, self.root(start).expand(len(actions), -1), actions)

    # --- Displaceable, Comparable -------------------------------------------------------------------------------

    def tangent_size(self) -> int:
        return self.networks.size

    def displace(self, states: Tensor, by: Tensor) -> Tensor:
        return self._own(states) + self._own(by)

    def difference(self, origin: Tensor, states: Tensor) -> Tensor:
        return self._own(states) - self._own(origin)

    def embedding(self, states: Tensor, seconds: float) -> Tensor:
        """The latents themselves, which were trained to have a meaningful distance."""
        return self._own(states)

    def _told(self, first: Tensor, path: Tensor, actions: Tensor, doubt: Tensor) -> Trajectory:
        """The trajectory of latents (N,H,D) after the first ones (N,D)."""
        whole = torch.cat([first[:, None], path], 1)
        signals = Signals() if self.probe is None else Signals(self.probe(whole))
        valid = torch.isfinite(whole.detach()).flatten(1).all(1).cpu()
        return Trajectory(whole, actions, signals, valid, doubt, self.dt)

    def _count(self, actions: Tensor, members: int) -> None:
        self.spent = Spent(self.spent.steps + members * actions.shape[0] * actions.shape[1])

    @property
    def _device(self) -> torch.device:
        return self.networks.inputs.mean.device

    def _own(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, torch.float32)


class JepaEnsemble(Jepa):
    """The futures of M predictors over one encoder, in one batched product. The first one is the nominal one.

    Every future carries the doubt of all: how far the members' predictions differ.
    """

    def branch(self, start: Belief, states: Tensor, actions: Tensor) -> Trajectory:
        first, moves = self._own(states), self._own(actions)
        each = self.networks.roll(first, moves)
        self._count(actions, len(each))
        return self._told(first, each[0], actions, _apart(each))

    def members(self, seed: int) -> list[Jepa]:
        """One model of each predictor; nothing here is drawn, so `seed` has no effect."""
        return [Jepa(self.networks, self.dt, self.probe, index) for index in range(self.networks.params.members)]

    def futures(self, start: Belief, actions: Tensor, seed: int, states: bool = False) -> Iterator[Trajectory]:
        with torch.inference_mode():
            first = self._own(self.root(start)).expand(len(actions), -1)
            each = self.networks.roll(first, self._own(actions))
            self._count(actions, len(each))
            doubt = _apart(each)
        for path in each:
            with torch.inference_mode():
                found = self._told(first, path, actions, doubt)
            yield found if states else replace(found, states=found.states[..., :0])

    def disagreement(self, futures: Sequence[Trajectory]) -> Tensor:
        """The root mean square over dimensions of the members' standard deviation, (N,H)."""
        return _apart(torch.stack([future.states[:, 1:] for future in futures]))


def _apart(members: Tensor) -> Tensor:
    """(M,N,H,D) -> (N,H), the root mean square over D of the standard deviation over M."""
    return root(members.var(0, unbiased=False).mean(-1))
