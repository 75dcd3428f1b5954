"""Several world models of one task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from envs.errors import TelosError
from envs.task import Snapshot
from envs.trajectory import Trajectory
from worldmodels.model import Spent, WorldModel


class Ensemble:
    """M world models of one task: variants of its physics, or models that were trained separately.

    The first member is the nominal one. As a `WorldModel`, the ensemble behaves as its nominal member; `futures` gives
    the futures of all members. The ensemble offers none of the nominal member's further capabilities, because a
    branching future would have to branch in all M members at once.
    """

    def __init__(self, members: Sequence[WorldModel]) -> None:
        """
        Raises:
            TelosError: no member, or members of different stride, dt or action size.
        """
        if not members:
            raise TelosError("Ensemble.members", "none", "one world model at least, the nominal one first")
        for name in ("stride", "dt", "action_size"):
            given = [getattr(member, name) for member in members]
            if any(value != given[0] for value in given):
                raise TelosError(f"Ensemble.members: {name}", given, f"one for all members, {given[0]} as the nominal")
        self.members = tuple(members)
        self.nominal = self.members[0]

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
    def spent(self) -> Spent:
        """The sum over all members."""
        spent = [member.spent for member in self.members]
        return Spent(
            sum(one.steps for one in spent), sum(one.seconds for one in spent), sum(one.diverged for one in spent)
        )

    def imagine(self, start: Snapshot, actions: Tensor, states: bool = False) -> Trajectory:
        """The nominal member's futures of candidates (N,H,A)."""
        return self.nominal.imagine(start, actions, states)

    def futures(self, start: Snapshot, actions: Tensor, states: bool = False) -> Iterator[Trajectory]:
        """Each member's futures of the same candidates (N,H,A), M times, the nominal one first.

        They come one after the other, so that only one is held in memory at a time. One batch of M x N simulations,
        each with its own model, is not faster in MuJoCo (within 3 % at N = 64; it only distributes 16 candidates better
        over two threads).
        """
        for member in self.members:
            yield member.imagine(start, actions, states)
