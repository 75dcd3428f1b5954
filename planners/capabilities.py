"""What a problem may offer beyond evaluating candidates: gradients, linearisations, stepping, coordinates, heuristics.

Each capability is a protocol. A planner names the one that it needs.
N candidates or nodes, H control steps of the horizon, K control steps of an edge, A action size, S columns of a node,
D size of a state's tangent space, of coordinates or of an embedding, G guardrails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from planners.problem import Evaluation, Limits, Problem, T_co, read


@runtime_checkable
class Differentiable(Protocol):
    """The objective can be differentiated with respect to actions."""

    def differentiate(self, actions: Tensor) -> Evaluation:
        """Like `evaluate`, for candidates (N,H,A) that require gradients; costs and margins carry the autograd graph.

        `step_cost`, `terminal_cost` and `margin` of a candidate depend on its own actions only.
        """
        ...


@dataclass(frozen=True, eq=False)
class Linearisation:
    """Taylor expansion around one action sequence: dynamics and margins to first order, costs to second order.

    Step t leads from x_t to x_{t+1} under action u_t; deviations dx are in the tangent space of x.
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
    margin: Tensor  # (H,G), worst during step t, end included
    margin_x: Tensor  # (H,G,D)
    margin_u: Tensor  # (H,G,A)
    limits: Limits


@runtime_checkable
class Linearisable(Protocol):
    """The dynamics can be linearised around a trajectory, and simulated under a feedback law."""

    def expandable(self) -> bool:
        """Whether `linearise` is available; if not, `linearise` raises."""
        ...

    def expansion_steps(self) -> int:
        """Control steps that one call of `linearise` simulates."""
        ...

    def linearise(self, actions: Tensor) -> Linearisation:
        """Expand around the trajectory of one valid action sequence (H,A)."""
        ...

    def track(self, nominal: Tensor, offsets: Tensor, gains: Tensor) -> Tensor:
        """Roll out N feedback laws from the start, and return the actions (N,H,A) that they took.

        The law is u_t = clip(nominal_t + offset_t + gain_t (x_t - nominal x_t)).

        Args:
            nominal: (H,A) in [-1,1].
            offsets: (N,H,A).
            gains: (H,A,D), applied to deviations in the tangent space.
        """
        ...


@dataclass(frozen=True, eq=False)
class Stepped:
    """The result of N edges: the nodes they lead to, their costs and their margins."""

    nodes: Tensor  # (N,S)
    cost: Tensor  # (N,), sum over the edge's control steps; +inf where not valid
    margin: Tensor  # (N,G), worst over the edge, end included
    done: Tensor  # (N,) bool: the episode ended on the edge; all later steps cost 0
    valid: Tensor  # (N,) bool
    limits: Limits

    @property
    def violation(self) -> np.ndarray:
        """Worst scaled violation, (N,) float64: 0 if every guardrail holds.

        As in `Evaluation`, it is +inf if the edge is invalid or its cost is not finite. No path continues from there.
        """
        violation = self.limits.violation(self.margin)
        violation[~(self.valid.numpy() & np.isfinite(read(self.cost)))] = np.inf
        return violation


@runtime_checkable
class Steppable(Protocol):
    """The dynamics can be simulated edge by edge from any node, so that a search can branch.

    A node is a row of numbers that planners do not interpret.
    """

    def root(self) -> Tensor:
        """The node (1,S) where the problem starts."""
        ...

    def step(self, nodes: Tensor, actions: Tensor) -> Stepped:
        """Simulate edges of K control steps, actions (N,K,A) in [-1,1], from nodes (N,S).

        The costs of consecutive edges from the root that make up H control steps add up to the cost that `evaluate`
        gives their actions, without the terminal cost.
        """
        ...


@dataclass(frozen=True, eq=False)
class Space:
    """The coordinates that distinguish nodes, positions first."""

    names: tuple[str, ...]  # (D,)
    low: np.ndarray  # (D,), -inf where there is no bound
    high: np.ndarray  # (D,), +inf where there is no bound
    periodic: np.ndarray  # (D,) bool: `high` and `low` are the same place
    units: tuple[str, ...] = ()  # (D,), or empty if unknown


@runtime_checkable
class Charted(Protocol):
    """Nodes have coordinates, so that they can be drawn."""

    def space(self) -> Space: ...

    def coordinates(self, nodes: Tensor) -> Tensor:
        """Coordinates of nodes, (N,S) -> (N,D); periodic ones are wrapped into their bounds."""
        ...


@runtime_checkable
class Discretisable(Steppable, Charted, Protocol):
    """Steppable, with nodes that a few coordinates identify and can create."""

    def identity(self) -> str:
        """A key that two problems share if the same edge from the same coordinates has the same end and cost in both.

        Planners reuse earlier results (a table of edges, a route) only while the key stays the same.
        """
        ...

    def place(self, coordinates: Tensor) -> Tensor:
        """Nodes at given coordinates, (N,D) -> (N,S), with everything else (actuators, warm starts) at rest."""
        ...


@runtime_checkable
class Measurable(Steppable, Protocol):
    """Steppable, with a meaningful distance between nodes of any size."""

    def embedding(self, nodes: Tensor, seconds: float) -> Tensor:
        """Map nodes to points, (N,S) -> (N,D), whose Euclidean distance is small for similar nodes.

        Positions are in m and rad. Full turns of a rotation do not change the point. A velocity counts as the distance
        that it covers in `seconds`.
        """
        ...


@runtime_checkable
class Guided(Protocol):
    """Knows a lower bound on the cost-to-go, which guides a search for the cheapest path (A*)."""

    def heuristic(self, nodes: Tensor) -> Tensor:
        """Admissible heuristic, (N,S) -> (N,): a lower bound on the cost-to-go.

        Costs are measured in excess of the smallest possible cost of a step. The heuristic is 0 at a goal. It is
        consistent (monotone): along an edge it decreases by at most the edge's excess cost.
        """
        ...


class DifferentiableProblem(Problem[T_co], Differentiable, Protocol[T_co]):
    """A problem with gradients."""


class LinearisableProblem(Problem[T_co], Linearisable, Protocol[T_co]):
    """A problem with expansions."""


class SteppableProblem(Problem[T_co], Steppable, Protocol[T_co]):
    """A problem that branches."""


class MeasurableProblem(Problem[T_co], Measurable, Protocol[T_co]):
    """A problem with distances between nodes."""


class DiscretisableProblem(Problem[T_co], Discretisable, Protocol[T_co]):
    """A problem with coordinates."""
