"""The interfaces of world models: the common one, and those of further capabilities."""

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
    """The effort of all simulation so far."""

    steps: int = 0  # physics steps, or model evaluations
    seconds: float = 0.0  # wall clock inside the simulator's own code; 0 where there is none
    diverged: int = 0  # candidates whose imagined simulation diverged

    def since(self, before: Spent) -> Spent:
        """The effort since `before`."""
        return Spent(self.steps - before.steps, self.seconds - before.seconds, self.diverged - before.diverged)


class WorldModel(Protocol):
    """Predicts states and signals; it contains no reward, value or policy.

    The registry builds a model as `Class(task, interface, requests, threads=…, **params)`. `requests` are the signals
    that costs and guardrails read besides the reward's. `params` is the config's `world_model.params`.
    The future of a candidate depends on its own actions alone, and its first steps do not depend on its length;
    tests/worldmodels/test_conformance.py checks this for every registered model.
    """

    @property
    def stride(self) -> int:
        """Control steps per imagined step; agents require 1."""
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
            start: the believed state of the world.
            actions: (N,H,A) in [-1,1].
            states: whether the trajectory carries the model's states. Costs and guardrails read signals only, so a
                search can save this copy.
        """
        ...


@runtime_checkable
class Branching(Protocol):
    """A world model that can continue from any of its own states, S numbers each."""

    def resumable(self) -> bool:
        """Whether it can continue: False where signals lag behind the state."""
        ...

    def branch(self, start: Snapshot, states: Tensor, actions: Tensor) -> Trajectory:
        """The futures of candidates (N,K,A), each from its own state (N,S).

        The trajectory carries states. `start` gives the task's parameters. A future that starts at another's end state
        continues it exactly.
        """
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
    """A branching model of positions and velocities: states can be compared, and made from coordinates."""

    def tangent_size(self) -> int:
        """D, the size of a tangent vector: differences of positions, velocities and actuator states."""
        ...

    def displace(self, states: Tensor, by: Tensor) -> Tensor:
        """States (N,S) moved by tangent vectors (N,D)."""
        ...

    def difference(self, origin: Tensor, states: Tensor) -> Tensor:
        """The tangent vectors (N,D) that lead from `origin` (N,S) to `states` (N,S)."""
        ...

    def embedding(self, states: Tensor, seconds: float) -> Tensor:
        """(N,S) -> (N,D'): points in m and rad that are near each other where states are similar.

        A velocity counts as the distance that it covers in `seconds`.
        """
        ...

    def mechanics(self, start: Snapshot) -> mujoco.MjModel:
        """The MuJoCo model (bodies, joints, actuators) with the reset's parameters; it must not be modified."""
        ...

    def chart(self) -> Chart:
        """The coordinates. Raises TelosError for rotations in space, whose positions are no plain coordinates."""
        ...

    def coordinates(self, states: Tensor) -> Tensor:
        """(N,S) -> (N,D) in the order of the chart; periodic coordinates are within their bounds."""
        ...

    def place(self, start: Snapshot, coordinates: Tensor) -> Tensor:
        """(N,D) -> (N,S): states with these coordinates, actuators and warm starts at zero, the rest as in `start`."""
        ...

    def identity(self, start: Snapshot) -> str:
        """A digest of model and reset parameters; where two digests are equal, so are the next states of any state."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """A differentiable world model."""

    def differentiate(self, start: Snapshot, actions: Tensor) -> Trajectory:
        """`imagine` with states, for actions (N,H,A) that require gradients; states and signals carry gradients."""
        ...
