"""What every world model offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from envs.task import Snapshot
from envs.trajectory import Trajectory


@dataclass(frozen=True)
class Spent:
    """What imagining has cost so far."""

    steps: int = 0  # physics steps, or model evaluations
    seconds: float = 0.0  # wall clock inside the simulator's own code; 0 where there is none

    def since(self, before: Spent) -> Spent:
        """What was spent after `before`."""
        return Spent(self.steps - before.steps, self.seconds - before.seconds)


class WorldModel(Protocol):
    """Predicts states and signals; reward, value and policy belong to others.

    The registry builds one as `Class(task, interface, requests, threads=…, **params)`: `requests` are the signals
    that costs and guardrails read besides the reward's, `params` what the config says under `world_model.params`.
    The future of a candidate depends on its own actions alone, and its beginning not on how far it goes on;
    tests/worldmodels/test_conformance.py holds every registered model to this.
    """

    @property
    def stride(self) -> int:
        """Control steps per imagined step; agents plan with 1."""
        ...

    @property
    def dt(self) -> float:
        """s per imagined step."""
        ...

    @property
    def action_size(self) -> int: ...

    @property
    def spent(self) -> Spent: ...

    def imagine(self, start: Snapshot, actions: Tensor, states: bool = False) -> Trajectory:
        """The futures of N candidate action sequences.

        Args:
            start: where the world is believed to stand.
            actions: (N,H,A) in [-1,1].
            states: whether the trajectory carries the model's states; costs and guardrails read
                signals only, so a search saves the copy.
        """
        ...
