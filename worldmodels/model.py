"""The interfaces of world models: the common one, and those of further capabilities.

A model implements any of the capabilities; `agent.composition.compose` turns each one into the capability of a problem.
N candidates, H control steps, K control steps of an edge, A action size, S size of a model state, M members.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from envs.requests import Request
from envs.trajectory import Trajectory
from worldmodels.belief import Belief

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


Source = Literal["state", "observation"]
"""What an imagination starts from: the believed simulator state, or the features that perception made."""


class WorldModel(Protocol):
    """Predicts states and signals; it contains no reward, value or policy.

    The registry builds a model as `Class(task, interface, requests, threads=…, **params)`. `requests` are the signals
    that costs and guardrails read besides the reward's. `params` is the config's `world_model.params`.
    The future of a candidate depends on its own actions alone, and its first steps do not depend on its length;
    tests/worldmodels/test_conformance.py checks this for every registered model.
    States may have any floating dtype and lie on any device. A planner keeps them as float64 on the CPU, so a model
    that continues from a state, or compares states, accepts them in that form too. Actions come in it always.
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
    def starts_from(self) -> Source:
        """The part of a belief that `imagine` reads."""
        ...

    @property
    def signals(self) -> frozenset[Request]:
        """The signals that its trajectories contain."""
        ...

    @property
    def spent(self) -> Spent: ...

    def imagine(self, start: Belief, actions: Tensor, states: bool = False) -> Trajectory:
        """The futures of N candidate action sequences.

        Args:
            start: the believed state of the world.
            actions: (N,H,A) in [-1,1].
            states: whether the trajectory carries the model's states. Where neither cost nor judge reads them, a search
                can save this copy.
        """
        ...


@runtime_checkable
class Branching(Protocol):
    """It can continue from any of its own states, S numbers each."""

    def resumable(self) -> bool:
        """Whether it can continue: False where signals lag behind the state."""
        ...

    def root(self, start: Belief) -> Tensor:
        """The model's state (1,S) at the belief."""
        ...

    def branch(self, start: Belief, states: Tensor, actions: Tensor) -> Trajectory:
        """The futures of candidates (N,K,A), each from its own state (N,S).

        The trajectory carries states. `start` gives the task's parameters. A future that starts at another's end state
        continues it exactly. Where the model is `Differentiable` too, and states or actions require gradients, states,
        signals and doubt carry them.
        """
        ...


@runtime_checkable
class Displaceable(Protocol):
    """Its states form a smooth space of dimension D, in which small differences are tangent vectors."""

    def tangent_size(self) -> int:
        """D, the size of a tangent vector: for physics, differences of positions, velocities and actuator states."""
        ...

    def displace(self, states: Tensor, by: Tensor) -> Tensor:
        """States (N,S) moved by tangent vectors (N,D)."""
        ...

    def difference(self, origin: Tensor, states: Tensor) -> Tensor:
        """The tangent vectors (N,D) that lead from `origin` (N,S) to `states` (N,S)."""
        ...


@runtime_checkable
class Comparable(Protocol):
    """Its states have a meaningful distance."""

    def embedding(self, states: Tensor, seconds: float) -> Tensor:
        """(N,S) -> (N,D'): points that are near each other where states are similar; of physics, in m and rad.

        A velocity counts as the distance that it covers in `seconds`.
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
class Coordinated(Protocol):
    """A few coordinates identify its states, and states can be made from them."""

    def chart(self) -> Chart:
        """The coordinates. Raises TelosError for rotations in space, whose positions are no plain coordinates."""
        ...

    def coordinates(self, states: Tensor) -> Tensor:
        """(N,S) -> (N,D) in the order of the chart; periodic coordinates are within their bounds."""
        ...

    def place(self, start: Belief, coordinates: Tensor) -> Tensor:
        """(N,D) -> (N,S): states with these coordinates, actuators and warm starts at zero, the rest as in `start`."""
        ...

    def identity(self, start: Belief) -> str:
        """A digest of model and reset parameters; where two digests are equal, so are the next states of any state."""
        ...


@runtime_checkable
class Mechanical(Protocol):
    """It simulates a MuJoCo model, which bounds on rewards are computed from."""

    def mechanics(self, start: Belief) -> mujoco.MjModel:
        """The MuJoCo model (bodies, joints, actuators) with the reset's parameters; it must not be modified."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """Its futures have gradients."""

    def differentiate(self, start: Belief, actions: Tensor) -> Trajectory:
        """`imagine` with states, for actions (N,H,A) that require gradients; states, signals and doubt carry them."""
        ...


@runtime_checkable
class Plural(Protocol):
    """It has several futures: variants of the physics, the members of an ensemble, or draws of a latent variable.

    The first member is the nominal one, which `imagine` shows.
    """

    def members(self, seed: int) -> Sequence[WorldModel]:
        """M models of one future each; draws of a latent variable follow from `seed` and are the same for all N."""
        ...

    def futures(self, start: Belief, actions: Tensor, seed: int, states: bool = False) -> Iterator[Trajectory]:
        """The members' futures of the same candidates (N,H,A), M times, as `imagine` of each member gives them.

        They come one after the other, so that only one needs to be held in memory at a time.
        """
        ...

    def disagreement(self, futures: Sequence[Trajectory]) -> Tensor:
        """How far the members' predictions differ after each step, (N,H) >= 0: the doubt of each of these futures.

        Futures carry states. Spread that is due to chance (draws of a latent variable) is no doubt and does not count.
        """
        ...
