"""A JEPA as a world model: beliefs are encoded once, and futures are rolled out in latent space.

N candidates, H control steps, K control steps of an edge, D latent size, F observed features, A action size, M members.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from envs.errors import TelosError
from envs.requests import Request
from envs.trajectory import Signals, Trajectory
from worldmodels.belief import Belief
from worldmodels.jepa.networks import Networks
from worldmodels.model import Source, Spent


class Probe(nn.Module):
    """An affine map from latents to named signals at a state, fitted apart from the model."""

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
    """The futures of one predictor, or the mean future of M: `futures` gives each one's."""

    stride = 1
    starts_from: Source = "observation"

    def __init__(self, networks: Networks, dt: float, probe: Probe | None = None, member: int | None = None) -> None:
        """
        Args:
            networks: trained ones; they are not changed here.
            dt: s per control step.
            probe: reads signals off latents; no signals where None.
            member: the predictor whose futures these are; of several, the mean one's where None.
        """
        self.networks = networks.eval()
        self.dt, self.action_size = dt, networks.action_size
        self.probe, self.member = probe, member
        self.signals = frozenset(Request(name, "state") for name in (probe.sizes if probe else ()))
        self.spent = Spent()

    def imagine(self, start: Belief, actions: Tensor, states: bool = False) -> Trajectory:
        with torch.inference_mode():
            found = self.branch(start, self.root(start).expand(len(actions), -1), actions)
        return found

    # --- Branching, Differentiable --------------------------------------------------------------------------------

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
        each = self.networks.roll(first, moves) if self.member is None else self._rolled(first, moves)
        path = torch.cat([first[:, None], each.mean(0) if len(each) > 1 else each[0]], 1)
        self.spent = Spent(self.spent.steps + actions.shape[0] * actions.shape[1] * len(each))
        signals = Signals() if self.probe is None else Signals(self.probe(path))
        doubt = _apart(each) if len(each) > 1 else path.new_zeros(actions.shape[:2])
        valid = torch.isfinite(path.detach()).flatten(1).all(1).cpu()
        return Trajectory(path, actions, signals, valid, doubt, self.dt)

    def differentiate(self, start: Belief, actions: Tensor) -> Trajectory:
        return self.branch(start, self.root(start).expand(len(actions), -1), actions)

    # --- Displaceable, Comparable ---------------------------------------------------------------------------------

    def tangent_size(self) -> int:
        return self.networks.size

    def displace(self, states: Tensor, by: Tensor) -> Tensor:
        return self._own(states) + self._own(by)

    def difference(self, origin: Tensor, states: Tensor) -> Tensor:
        return self._own(states) - self._own(origin)

    def embedding(self, states: Tensor, seconds: float) -> Tensor:
        """The latents themselves, which were trained to have a meaningful distance."""
        return self._own(states)

    # --- Plural ---------------------------------------------------------------------------------------------------

    def members(self, seed: int) -> list[Jepa]:
        """The mean future's model first, then each predictor's, where there are several."""
        if self.networks.params.members == 1 or self.member is not None:
            return [self]
        return [self, *(Jepa(self.networks, self.dt, self.probe, index) for index in range(self._count))]

    def futures(self, start: Belief, actions: Tensor, seed: int, states: bool = False) -> Iterator[Trajectory]:
        for member in self.members(seed):
            yield member.imagine(start, actions, states)

    def disagreement(self, futures: Sequence[Trajectory]) -> Tensor:
        """The root mean square over dimensions of the members' standard deviation, (N,H)."""
        members = [future.states[:, 1:] for future in (futures[1:] if len(futures) > 1 else futures)]
        return _apart(torch.stack(members))

    @property
    def _count(self) -> int:
        return self.networks.params.members

    @property
    def _device(self) -> torch.device:
        return self.networks.inputs.mean.device

    def _rolled(self, first: Tensor, moves: Tensor) -> Tensor:
        return self.networks.roll(first, moves)[self.member][None]

    def _own(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, torch.float32)


def _apart(members: Tensor) -> Tensor:
    """(M,N,H,D) -> (N,H), the root mean square over D of the standard deviation over M."""
    variance = members.var(0, unbiased=False).mean(-1)
    apart = variance > 0  # the slope of a square root at 0 would be infinite
    return torch.where(apart, torch.where(apart, variance, 1.0).sqrt(), 0.0)
