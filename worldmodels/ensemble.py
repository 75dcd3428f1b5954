"""Several world models of one task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from envs.errors import TelosError
from envs.requests import Request
from envs.trajectory import Trajectory
from worldmodels.belief import Belief
from worldmodels.model import Comparable, Source, Spent, WorldModel


class Ensemble:
    """M world models of one task: variants of its physics, or models that were trained separately.

    The first member is the nominal one. As a `WorldModel`, the ensemble behaves as its nominal member; as a `Plural`
    model it gives the futures of all members. A problem over it has the capabilities that all members have.
    """

    def __init__(self, members: Sequence[WorldModel]) -> None:
        """
        Raises:
            TelosError: no member, or members of different stride, dt, action size, source or signals.
        """
        if not members:
            raise TelosError("Ensemble.members", "none", "one world model at least, the nominal one first")
        for name in ("stride", "dt", "action_size", "starts_from", "signals"):
            given = [getattr(member, name) for member in members]
            if any(value != given[0] for value in given):
                raise TelosError(f"Ensemble.members: {name}", given, f"one for all members, {given[0]} as the nominal")
        self.parts = tuple(members)
        self.nominal = self.parts[0]

    @property
    def stride(self) -> int:
        return self.nominal.stride

    @property
    def dt(self) -> float:
        return self.nominal.dt

    @property
    def action_size(self) -> int:
        return self.nominal.action_size

    @property
    def starts_from(self) -> Source:
        return self.nominal.starts_from

    @property
    def signals(self) -> frozenset[Request]:
        return self.nominal.signals

    @property
    def spent(self) -> Spent:
        """The sum over all members."""
        spent = [member.spent for member in self.parts]
        return Spent(
            sum(one.steps for one in spent), sum(one.seconds for one in spent), sum(one.diverged for one in spent)
        )

    def imagine(self, start: Belief, actions: Tensor, states: bool = False) -> Trajectory:
        """The nominal member's futures of candidates (N,H,A)."""
        return self.nominal.imagine(start, actions, states)

    def members(self, seed: int) -> tuple[WorldModel, ...]:
        """The M models; nothing here is drawn, so `seed` has no effect."""
        return self.parts

    def futures(self, start: Belief, actions: Tensor, seed: int, states: bool = False) -> Iterator[Trajectory]:
        """Each member's futures of the same candidates (N,H,A), M times, the nominal one first.

        One batch of M x N simulations, each with its own model, is not faster in MuJoCo (within 3 % at N = 64; it only
        distributes 16 candidates better over two threads).
        """
        for member in self.parts:
            yield member.imagine(start, actions, states)

    def disagreement(self, futures: Sequence[Trajectory]) -> Tensor:
        """The root mean square over dimensions of the members' standard deviation after each step, (N,H).

        It is computed on the nominal member's embedding of the states where it has one (m and rad, and velocities times
        the control period), otherwise on the states themselves.
        """
        points = torch.stack([self._points(future.states[:, 1:]) for future in futures])
        variance = points.var(0, unbiased=False).mean(-1)
        apart = variance > 0  # the slope of a square root at 0 would be infinite
        return torch.where(apart, torch.where(apart, variance, 1.0).sqrt(), 0.0)

    def _points(self, states: Tensor) -> Tensor:
        if not isinstance(self.nominal, Comparable):
            return states
        flat = self.nominal.embedding(states.flatten(0, 1), self.dt)
        return flat.unflatten(0, states.shape[:2])
