"""Expansion of a problem over a differentiable model that branches, by automatic differentiation.

The derivatives are exact and need no step size, so the model's states may be float32. All H edges are one batch.
H control steps, A action size, S state size, D tangent size, G guardrails, Z = D + A.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from agent.composition.branching import SteppableProblem
from agent.composition.edges import follow
from agent.composition.expansion import assembled, semidefinite, standing
from agent.composition.fields import Fields, fields_of, trajectory_of
from agent.composition.tracking import tracked
from envs.trajectory import home
from planners.capabilities import Linearisation
from worldmodels.model import Branching, Displaceable


class AutogradProblem(SteppableProblem):
    """It implements `Linearisable`, over a model that is `Branching`, `Displaceable` and `Differentiable`."""

    def expandable(self) -> bool:
        """Whether costs are those of single steps, and the model can continue from any state."""
        objective = self.objective
        assert isinstance(self.model, Branching)
        return not objective.looks_back and objective.discount == 1 and self.model.resumable()

    def expansion_steps(self) -> int:
        """Control steps that one `linearise` evaluates: the trajectory, its edges, and one at its end for a critic."""
        return 2 * self.horizon + (self.objective.critic is not None)

    def linearise(self, actions: Tensor) -> Linearisation:
        """Expand dynamics, cost and margins around one action sequence (H,A). Raises TelosError as `step` does."""
        nominal = self.imagine(actions[None])
        path = nominal.states[0].detach()
        with torch.enable_grad():
            displaced, nodes = self._around(path[:-1])
            moved = actions.detach().clone().requires_grad_()
            trajectory, judged = follow(self, self.model, nodes, moved[:, None])
            ends = home(self._displaceable.difference(path[1:], trajectory.states[:, 1]))
            inputs = [displaced, moved]
            state, action = _jacobian(ends, inputs)
            margin_x, margin_u = _jacobian(judged.margin, inputs)
            step = _quadratic(judged.step_cost[:, 0], inputs)
            terminal = self._terminal(path[-1:], fields_of(trajectory))
        return assembled(self, nominal, (state, action), step, terminal, judged.margin.detach(), (margin_x, margin_u))

    def track(self, nominal: Tensor, offsets: Tensor, gains: Tensor) -> Tensor:
        """The actions (N,H,A) that track the trajectory of `nominal` (H,A) with feedback gains (H,A,D)."""
        with torch.no_grad():
            return tracked((self.model,), self.start, nominal, offsets, gains)

    def _terminal(self, state: Tensor, edges: Fields) -> tuple[Tensor, Tensor]:
        """Gradient (D,) and Hessian (D,D) of the terminal cost at a state (1,S)."""
        size = self._displaceable.tangent_size()
        if self.objective.critic is None:
            return torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
        displaced, nodes = self._around(state)
        idle = torch.zeros(1, 1, self.action_size, dtype=torch.float64)
        after, _ = follow(self, self.model, nodes, idle)
        final = {key: value[-1].detach() for key, value in edges.items()}
        there = trajectory_of(standing(fields_of(after), final), self.dt)
        cost = partial(self.objective.terminal_cost, params=self.start.params)
        gradient, hessian = _quadratic(cost(there), [displaced])
        return gradient[0], hessian[0]

    def _around(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent vectors (N,D) of 0 that carry gradients, and the states (N,S) that they displace."""
        size = self._displaceable.tangent_size()
        displaced = torch.zeros(len(states), size, dtype=torch.float64, requires_grad=True)
        return displaced, self._displaceable.displace(states, displaced)

    @property
    def _displaceable(self) -> Displaceable:
        assert isinstance(self.model, Displaceable)
        return self.model


def _jacobian(values: Tensor, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The derivatives (T,n,D) and (T,n,A) of values (T,n) with respect to inputs (T,D) and (T,A), row by row."""
    rows = [_slopes(column.sum(), inputs) for column in values.T]
    first, second = zip(*rows, strict=True) if rows else ((), ())
    empty = [x.new_zeros(len(x), 0, x.shape[1]) for x in inputs]
    return (
        torch.stack(first, 1).detach() if rows else empty[0],
        torch.stack(second, 1).detach() if rows else empty[1],
    )


def _quadratic(cost: Tensor, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Gradient (T,Z) and positive semidefinite Hessian (T,Z,Z) of costs (T,) with respect to the joined inputs."""
    gradient = torch.cat(_slopes(cost.sum(), inputs, again=True), 1)
    rows = [torch.cat(_slopes(column.sum(), inputs), 1) for column in gradient.T]
    hessian = torch.nan_to_num(torch.stack(rows, 1).detach(), 0.0, 0.0, 0.0)
    return torch.nan_to_num(gradient.detach(), 0.0, 0.0, 0.0), semidefinite(hessian)


def _slopes(total: Tensor, inputs: list[Tensor], again: bool = False) -> list[Tensor]:
    """The derivatives of a sum with respect to each input, 0 where it does not depend on it."""
    if not total.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad(total, inputs, retain_graph=True, create_graph=again, allow_unused=True)
    return [torch.zeros_like(x) if slope is None else slope for x, slope in zip(inputs, found, strict=True)]
