"""What every world model offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from envs.task import Snapshot
from envs.trajectory import Trajectory

if TYPE_CHECKING:
    import mujoco


@dataclass(frozen=True)
class Spent:
    """What imagining has cost so far."""

    steps: int = 0  # physics steps, or model evaluations
    seconds: float = 0.0  # wall clock inside the simulator's own code; 0 where there is none
    diverged: int = 0  # candidates whose imagined simulation diverged

    def since(self, before: Spent) -> Spent:
        """What was spent after `before`."""
        return Spent(self.steps - before.steps, self.seconds - before.seconds, self.diverged - before.diverged)


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


@runtime_checkable
class Branching(Protocol):
    """A world model that goes on from any of its own states, S numbers each."""

    def resumable(self) -> bool:
        """Whether it does: not where signals lag behind the state."""
        ...

    def branch(self, start: Snapshot, states: Tensor, actions: Tensor) -> Trajectory:
        """The futures of candidates (N,K,A), each from its own state (N,S), with states; `start` gives the task's
        parameters. A future taken up where another ended is its exact continuation."""
        ...


@dataclass(frozen=True, eq=False)
class Chart:
    """The coordinates of a model whose state is positions and velocities, D of them, positions first."""

    names: tuple[str, ...]  # (D,)
    low: np.ndarray  # (D,), rad or m, and per s; -inf where there is no bound
    high: np.ndarray  # (D,)
    periodic: np.ndarray  # (D,) bool, angles without limits
    units: tuple[str, ...]  # (D,)


@runtime_checkable
class Physical(Branching, Protocol):
    """A branching model whose states are positions and velocities, so that they can be compared and placed."""

    def tangent_size(self) -> int:
        """D: positions, velocities and actuator states, as differences."""
        ...

    def displace(self, states: Tensor, by: Tensor) -> Tensor:
        """States (N,S) moved by tangent vectors (N,D)."""
        ...

    def difference(self, origin: Tensor, states: Tensor) -> Tensor:
        """The tangent vectors (N,D) that lead from `origin` (N,S) to `states` (N,S)."""
        ...

    def embedding(self, states: Tensor, seconds: float) -> Tensor:
        """(N,S) -> (N,D'): points that are near each other where states are alike, in m and rad.

        A velocity counts as the way that it leads in `seconds`.
        """
        ...

    def mechanics(self, start: Snapshot) -> mujoco.MjModel:
        """The bodies, joints and actuators behind the states, with what a reset decided; to be read only."""
        ...

    def chart(self) -> Chart:
        """Raises TelosError for a model with rotations in space, whose positions are no plain coordinates."""
        ...

    def coordinates(self, states: Tensor) -> Tensor:
        """(N,S) -> (N,D) as the chart says; periodic ones within their bounds."""
        ...

    def place(self, start: Snapshot, coordinates: Tensor) -> Tensor:
        """(N,D) -> (N,S): states like the start's in everything else, with actuators and warm starts at zero."""
        ...

    def identity(self, start: Snapshot) -> str:
        """Equal for two models, each with what a reset decided, that lead from one state to the same next one."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """A world model that gradients flow through."""

    def differentiate(self, start: Snapshot, actions: Tensor) -> Trajectory:
        """`imagine`, with states, of actions (N,H,A) that require gradients; states and signals carry them."""
        ...
