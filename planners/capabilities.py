"""What a problem can do beyond judging candidates. Declared by type; a planner says which of them it needs.

N candidates or nodes, H control steps of the horizon, K control steps of an edge, A action size, S columns of a node,
D size of a state's tangent space, G guardrails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from planners.problem import Evaluation, Limits, Problem, T_co, read


@runtime_checkable
class Differentiable(Protocol):
    """The objective has a gradient with respect to actions."""

    def differentiate(self, actions: Tensor) -> Evaluation:
        """`evaluate` of candidates (N,H,A) that require gradients; costs and margins carry them.

        `step_cost`, `terminal_cost` and `margin` of a candidate depend on its own actions alone.
        """
        ...


@dataclass(frozen=True, eq=False)
class Linearisation:
    """First order of the dynamics and margins, second order of the cost, around one action sequence.

    Step t leads from x_t to x_{t+1} under action u_t; dx is measured in the tangent space of x.
    """

    state: Tensor  # (H,D,D), A_t = d x_{t+1} / d x_t
    action: Tensor  # (H,D,A), B_t = d x_{t+1} / d u_t
    cost_x: Tensor  # (H,D), of step t's cost
    cost_u: Tensor  # (H,A)
    cost_xx: Tensor  # (H,D,D); [[xx, ux^T], [ux, uu]] is positive semidefinite
    cost_uu: Tensor  # (H,A,A)
    cost_ux: Tensor  # (H,A,D)
    terminal_x: Tensor  # (D,), of the terminal cost
    terminal_xx: Tensor  # (D,D), positive semidefinite
    margin: Tensor  # (H,G), worst inside step t, its end included
    margin_x: Tensor  # (H,G,D)
    margin_u: Tensor  # (H,G,A)
    limits: Limits


@runtime_checkable
class Linearisable(Protocol):
    """The dynamics can be expanded around a trajectory, and followed with feedback."""

    def expandable(self) -> bool:
        """Whether `linearise` can; where it cannot, it raises."""
        ...

    def expansion_steps(self) -> int:
        """Control steps that one `linearise` simulates."""
        ...

    def linearise(self, actions: Tensor) -> Linearisation:
        """Expand around the trajectory of one action sequence (H,A), which is valid."""
        ...

    def track(self, nominal: Tensor, offsets: Tensor, gains: Tensor) -> Tensor:
        """The actions (N,H,A) of u_t = clip(nominal_t + offset_t + gain_t (x_t - nominal x_t)) from the same start.

        Args:
            nominal: (H,A) in [-1,1].
            offsets: (N,H,A).
            gains: (H,A,D), over the tangent space.
        """
        ...


@dataclass(frozen=True, eq=False)
class Stepped:
    """Where edges led, and what they cost."""

    nodes: Tensor  # (N,S)
    cost: Tensor  # (N,), sum over the edge's control steps; +inf where not valid
    margin: Tensor  # (N,G), worst over the edge, its end included
    done: Tensor  # (N,) bool: the episode ended on the edge; nothing beyond it costs or earns
    valid: Tensor  # (N,) bool
    limits: Limits

    @property
    def violation(self) -> np.ndarray:
        """Worst scaled violation, (N,) float64: 0 where every guardrail holds, +inf where not valid or the cost not
        finite, as in `Evaluation`: no path leads on from there."""
        violation = self.limits.violation(self.margin)
        violation[~(self.valid.numpy() & np.isfinite(read(self.cost)))] = np.inf
        return violation


@runtime_checkable
class Steppable(Protocol):
    """The future can be built step by step, and branch. A node is a row of numbers, opaque to planners."""

    def root(self) -> Tensor:
        """The node (1,S) where the problem starts."""
        ...

    def step(self, nodes: Tensor, actions: Tensor) -> Stepped:
        """Follow edges of K control steps, actions (N,K,A) in [-1,1], from nodes (N,S).

        From the root, edges that make up H control steps add up to `evaluate` of all their actions, without the
        terminal cost.
        """
        ...


@dataclass(frozen=True, eq=False)
class Space:
    """The coordinates that tell nodes apart, position first."""

    names: tuple[str, ...]  # (D,)
    low: np.ndarray  # (D,), -inf where there is no bound
    high: np.ndarray  # (D,), +inf where there is no bound
    periodic: np.ndarray  # (D,) bool: high is the same place as low
    units: tuple[str, ...] = ()  # (D,), or none where nobody knows them


@runtime_checkable
class Charted(Protocol):
    """Its nodes have coordinates, by which they can be drawn."""

    def space(self) -> Space: ...

    def coordinates(self, nodes: Tensor) -> Tensor:
        """(N,S) -> (N,D); periodic ones within their bounds."""
        ...


@runtime_checkable
class Discretisable(Steppable, Charted, Protocol):
    """Steppable, and its nodes are told apart by a few coordinates, by which they can be made too."""

    def identity(self) -> str:
        """Equal for two problems where the same edge from the same coordinates leads to the same, at the same cost."""
        ...

    def place(self, coordinates: Tensor) -> Tensor:
        """(N,D) -> (N,S): nodes at rest in everything else (actuators, warm starts)."""
        ...


@runtime_checkable
class Measurable(Steppable, Protocol):
    """Steppable, and how far apart two nodes are means something, however many numbers make a node."""

    def embedding(self, nodes: Tensor, seconds: float) -> Tensor:
        """(N,S) -> (N,D): points near each other, by Euclidean distance, where nodes are alike.

        Positions are in m and rad, and the same place is the same point, however often something has turned; a
        velocity counts as the way that it leads in `seconds`.
        """
        ...


@runtime_checkable
class Guided(Protocol):
    """Knows a lower bound on what is still to come, which guides a search for the shortest path."""

    def heuristic(self, nodes: Tensor) -> Tensor:
        """(N,S) -> (N,): at most what the cheapest path to a goal costs, above the least that its steps can cost.

        It is 0 at a goal, and consistent: over an edge it falls by no more than the edge's cost, counted like that.
        """
        ...


class DifferentiableProblem(Problem[T_co], Differentiable, Protocol[T_co]):
    """A problem with gradients."""


class LinearisableProblem(Problem[T_co], Linearisable, Protocol[T_co]):
    """A problem with expansions."""


class SteppableProblem(Problem[T_co], Steppable, Protocol[T_co]):
    """A problem that branches."""


class MeasurableProblem(Problem[T_co], Measurable, Protocol[T_co]):
    """A problem whose nodes can be compared."""


class DiscretisableProblem(Problem[T_co], Discretisable, Protocol[T_co]):
    """A problem with coordinates."""
