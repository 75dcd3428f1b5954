"""Expansion of a physical problem: first order in dynamics and margins, second order in costs; and feedback tracking.

Derivatives are central differences in tangent space (Tassa, Erez & Todorov 2012, section II) over edges of one control
step. The simulator chains the physics steps of an edge, and one batch covers the whole trajectory.
H control steps, A action size, S state size, D tangent size, G guardrails, Z = D + A, P = 1 + 2 Z edges from a state:
the nominal edge, then one displaced upwards in each direction, then one displaced downwards in each direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from agent.composition.branching import SteppableProblem
from agent.composition.edges import follow
from agent.composition.fields import CostFunction, Fields, concatenated, derivatives, fields_of, trajectory_of
from agent.composition.problem import ImaginedProblem
from agent.composition.tracking import tracked
from envs.trajectory import Trajectory
from planners.capabilities import Linearisation
from worldmodels.model import Branching, Displaceable

STEP = 1e-5  # rad, m, their rates, actions; a larger step crosses contacts, a smaller one cannot resolve curvature
CHUNK = 2048  # edges simulated together; more would only take more memory


@dataclass(frozen=True, eq=False)
class _Stencil:
    """The displacements of the edges that leave T states."""

    up: Tensor  # (T,Z), >= 0
    down: Tensor  # (T,Z), >= 0

    def slope(self, values: Tensor) -> Tensor:
        """First differences (T,Z,n) of values (T,P,n)."""
        size = self.up.shape[1]
        return (values[:, 1 : 1 + size] - values[:, 1 + size :]) / (self.up + self.down)[..., None]

    def bend(self, values: Tensor) -> Tensor:
        """Second differences (T,Z,n); 0 where an action bound prevents a full displacement on both sides."""
        size = self.up.shape[1]
        twice = values[:, 1 : 1 + size] - 2 * values[:, :1] + values[:, 1 + size :]
        both = (self.up == STEP) & (self.down == STEP)
        return torch.where(both[..., None], twice / STEP**2, 0.0)


def linearise(problem: ImaginedProblem, actions: Tensor) -> Linearisation:
    """Expand around the trajectory of actions (H,A), which must be valid.

    A direction in which the simulation of an edge diverges counts as flat.

    Raises:
        TelosError: a cost term depends on earlier steps, or signals lag behind the state.
    """
    model, horizon = _displaceable(problem), problem.horizon
    nominal = problem.imagine(actions[None])
    path = nominal.states[0]
    stencil = _stencil(model.tangent_size(), actions)
    nodes, tried = _displaced(model, path[:-1], actions, stencil)
    edges, margin = _edges(problem, nodes, tried)
    ends = _sound(edges, edges["model", "states"][:, 1], horizon)
    origin = ends[:, :1].expand_as(ends).flatten(0, 1)
    change = model.difference(origin, ends.flatten(0, 1)).unflatten(0, (horizon, -1))
    dynamics = stencil.slope(change).mT
    margin = _sound(edges, margin, horizon)
    margin_z = stencil.slope(margin).mT
    step_cost = partial(problem.objective.step_cost, params=problem.start.params)
    gradient, hessian = _quadratic(step_cost, edges, stencil, problem.dt)
    final_x, final_xx = _terminal(problem, path[-1:], edges)
    size = model.tangent_size()
    return assembled(
        problem,
        nominal,
        (dynamics[..., :size], dynamics[..., size:]),
        (gradient, hessian),
        (final_x, final_xx),
        margin[:, 0],
        (margin_z[..., :size], margin_z[..., size:]),
    )


def assembled(
    problem: ImaginedProblem,
    nominal: Trajectory,
    dynamics: tuple[Tensor, Tensor],
    step: tuple[Tensor, Tensor],
    terminal: tuple[Tensor, Tensor],
    margin: Tensor,
    margin_slopes: tuple[Tensor, Tensor],
) -> Linearisation:
    """The expansion around a nominal trajectory, with costs after the episode's end set to 0.

    Args:
        dynamics: (H,D,D) and (H,D,A).
        step: gradient (H,Z) and Hessian (H,Z,Z) of the step costs.
        terminal: gradient (D,) and Hessian (D,D) of the terminal cost.
        margin: (H,G).
        margin_slopes: (H,G,D) and (H,G,A).
    """
    (gradient, hessian), (final_x, final_xx) = step, terminal
    over = problem.objective.over(nominal, problem.start.params)
    if over is not None:  # a single edge does not show that the episode ended before it
        gradient, hessian = gradient * ~over[0, :, None], hessian * ~over[0, :, None, None]
    if problem.objective.ends(nominal, problem.start.params)[0]:
        final_x, final_xx = torch.zeros_like(final_x), torch.zeros_like(final_xx)
    size = len(final_x)
    return Linearisation(
        state=dynamics[0],
        action=dynamics[1],
        cost_x=gradient[:, :size],
        cost_u=gradient[:, size:],
        cost_xx=hessian[:, :size, :size],
        cost_uu=hessian[:, size:, size:],
        cost_ux=hessian[:, size:, :size],
        terminal_x=final_x,
        terminal_xx=final_xx,
        margin=margin,
        margin_x=margin_slopes[0],
        margin_u=margin_slopes[1],
        limits=problem.limits,
    )


def steps(problem: ImaginedProblem) -> int:
    """Control steps that `linearise` simulates: the trajectory, and the edges from each of its states."""
    size = _displaceable(problem).tangent_size()
    ends = 0 if problem.objective.critic is None else 1 + 2 * size
    return problem.horizon * (2 + 2 * (size + problem.action_size)) + ends


class LinearisableProblem(SteppableProblem):
    """It implements `planners.capabilities.Linearisable`, over a `Branching` and `Displaceable` model."""

    def expandable(self) -> bool:
        """Whether costs are those of single steps, and the model can continue from any state, in double precision."""
        objective = self.objective
        if objective.looks_back or objective.discount != 1:
            return False
        assert isinstance(self.model, Branching)
        return self.model.resumable() and self.model.root(self.start).dtype == torch.float64

    def expansion_steps(self) -> int:
        """Control steps that one `linearise` simulates."""
        return steps(self)

    def linearise(self, actions: Tensor) -> Linearisation:
        """Expand dynamics, cost and margins around one action sequence (H,A). Raises TelosError as `step` does."""
        return linearise(self, actions)

    def track(self, nominal: Tensor, offsets: Tensor, gains: Tensor) -> Tensor:
        """The actions (N,H,A) that track the trajectory of `nominal` (H,A) with feedback gains (H,A,D)."""
        return tracked((self.model,), self.start, nominal, offsets, gains)


def _displaceable(problem: ImaginedProblem) -> Displaceable:
    assert isinstance(problem.model, Displaceable)
    return problem.model


def _stencil(size: int, actions: Tensor) -> _Stencil:
    """States are displaced both ways; actions (T,A) as far as [-1,1] allows."""
    free = torch.full((len(actions), size), STEP, dtype=torch.float64)
    up, down = (1.0 - actions).clamp(0.0, STEP), (1.0 + actions).clamp(0.0, STEP)
    return _Stencil(torch.cat([free, up], 1), torch.cat([free, down], 1))


def _displaced(model: Displaceable, states: Tensor, actions: Tensor, stencil: _Stencil) -> tuple[Tensor, Tensor]:
    """Start states (T*P,S) and actions (T*P,A) of the edges around states (T,S) and actions (T,A)."""
    size = model.tangent_size()
    still = torch.zeros_like(stencil.up[:, None])
    by = torch.cat([still, torch.diag_embed(stencil.up), -torch.diag_embed(stencil.down)], 1)
    number = by.shape[1]
    nodes = model.displace(states.repeat_interleave(number, 0), by[..., :size].reshape(-1, size).contiguous())
    tried = (actions[:, None] + by[..., size:]).clamp(-1.0, 1.0)
    return nodes, tried.reshape(len(nodes), -1)


def _edges(problem: ImaginedProblem, nodes: Tensor, actions: Tensor) -> tuple[Fields, Tensor]:
    """Edges of one control step from nodes (N,S) under actions (N,A), with their margins (N,G)."""
    parts = [
        follow(problem, problem.model, some, taken[:, None].contiguous())
        for some, taken in zip(nodes.split(CHUNK), actions.split(CHUNK), strict=True)
    ]
    return concatenated([fields_of(path) for path, _ in parts]), torch.cat([judged.margin for _, judged in parts])


def _sound(edges: Fields, values: Tensor, number: int) -> Tensor:
    """Values of edges (T*P,…) as (T,P,n); the nominal edge's values in both directions where either edge diverged."""
    values = values.reshape(number, len(values) // number, -1)
    valid = edges["model", "valid"].reshape(number, -1, 1)
    size = valid.shape[1] // 2
    both = valid[:, 1 : 1 + size] & valid[:, 1 + size :]  # one side alone would give half a slope, and a huge bend
    return torch.where(torch.cat([valid[:, :1], both, both], 1), values, values[:, :1])


def _quadratic(cost: CostFunction, edges: Fields, stencil: _Stencil, dt: float) -> tuple[Tensor, Tensor]:
    """Gradient (T,Z) and positive semidefinite Hessian (T,Z,Z) of the cost at the nominal edges of T states.

    Autograd differentiates the cost twice with respect to fields (signals, actions). The stencil differentiates these
    fields with respect to state and action: all first derivatives (Gauss-Newton), and second derivatives along each
    axis. Without the second derivatives, a cost that is linear in a signal (the height of a pole) would have no
    curvature. Negative eigenvalues of the Hessian are set to 0.
    """
    number, size = stencil.up.shape
    nominal = {key: value[:: 1 + 2 * size] for key, value in edges.items()}
    read, gradient, hessian = derivatives(cost, nominal, dt)
    if not read:
        return stencil.up.new_zeros(number, size), stencil.up.new_zeros(number, size, size)
    values = torch.cat([_sound(edges, edges[key], number) for key in read], -1)
    slope, weight = stencil.slope(values), gradient[..., None]
    bend = torch.diag_embed((stencil.bend(values) @ weight)[..., 0])
    return (slope @ weight)[..., 0], semidefinite(slope @ hessian @ slope.mT + bend)


def semidefinite(matrices: Tensor) -> Tensor:
    """The nearest positive semidefinite matrices (T,Z,Z): negative eigenvalues become 0."""
    values, vectors = torch.linalg.eigh((matrices + matrices.mT) / 2)
    return (vectors * values.clamp(min=0.0)[:, None]) @ vectors.mT


def _terminal(problem: ImaginedProblem, state: Tensor, edges: Fields) -> tuple[Tensor, Tensor]:
    """Gradient (D,) and Hessian (D,D) of the terminal cost at a state (1,S).

    Where autograd gives no gradient (a critic outside autograd), the gradient is a central difference of the cost.
    """
    model = _displaceable(problem)
    size, width = model.tangent_size(), problem.action_size
    if problem.objective.critic is None:
        return state.new_zeros(size), state.new_zeros(size, size)
    idle = state.new_zeros(1, width)
    full = _stencil(size, idle)
    stencil = _Stencil(full.up[:, :size], full.down[:, :size])
    rows = torch.cat([torch.arange(1 + size), 1 + size + width + torch.arange(size)])  # actions change nothing here
    nodes, tried = (x[rows] for x in _displaced(model, state, idle, full))
    final = {key: value[-1 - 2 * (size + width)] for key, value in edges.items()}
    moved = standing(_edges(problem, nodes, tried)[0], final)
    cost = partial(problem.objective.terminal_cost, params=problem.start.params)
    gradient, hessian = _quadratic(cost, moved, stencil, problem.dt)
    if not gradient.any():
        values = _sound(moved, cost(trajectory_of(moved, problem.dt)).detach().to(state.dtype), 1)
        gradient = stencil.slope(values)[..., 0]
    return gradient[0], hessian[0]


def standing(after: Fields, final: Fields) -> Fields:
    """The fields of trajectories that end at the start states of edges `after`; `final` holds their last step."""
    stays = {key: value[:, :1].expand_as(value) for key, value in after.items() if _at_states(key)}
    stays["model", "valid"] = after["model", "valid"]
    return {key: stays[key] if key in stays else final[key].expand_as(value) for key, value in after.items()}


def _at_states(key: tuple[str, str]) -> bool:
    return key[0] == "state" or key == ("model", "states")
