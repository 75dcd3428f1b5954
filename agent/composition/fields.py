"""A trajectory as a flat set of named tensors, so that a cost can be differentiated with respect to each of them.

N independent trajectories, n numbers in each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from envs.trajectory import Signals, Trajectory

Key = tuple[str, str]  # group ("state", "interval" or "model"), and name within the group
Fields = Mapping[Key, Tensor]  # (N,…) each
CostFunction = Callable[[Trajectory], Tensor]  # the cost of each trajectory, (N,) or (N,H)


def fields_of(trajectory: Trajectory) -> Fields:
    """The tensors of a trajectory, by name."""
    found = {("state", name): value for name, value in trajectory.signals.state.items()}
    found |= {("interval", name): value for name, value in trajectory.signals.interval.items()}
    found |= {("model", name): getattr(trajectory, name) for name in ("states", "actions", "doubt", "valid")}
    return found


def trajectory_of(fields: Fields, dt: float) -> Trajectory:
    """The trajectory that these fields make up: the inverse of `fields_of`."""
    signals = Signals(*({name: x for (part, name), x in fields.items() if part == of} for of in ("state", "interval")))
    own = {name: value for (part, name), value in fields.items() if part == "model"}
    return Trajectory(**own, signals=signals, dt=dt)


def concatenated(parts: Sequence[Fields]) -> Fields:
    """Several batches of trajectories as one batch."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def derivatives(cost: CostFunction, fields: Fields, dt: float) -> tuple[list[Key], Tensor, Tensor]:
    """The fields that the cost depends on, its gradient (N,n) and Hessian (N,n,n) with respect to all their numbers.

    The Hessian takes one second backward pass per number. A pass sums over trajectories, which are independent.
    Derivatives that are not finite (a square root at 0) count as 0. The list of fields is empty where the cost is a
    step function, or is computed outside autograd.
    """
    leaves = {key: x.detach().clone().requires_grad_() for key, x in fields.items() if x.is_floating_point()}
    number = len(fields["model", "actions"])
    with torch.enable_grad():
        total = cost(trajectory_of({**fields, **leaves}, dt)).sum()
        if not total.requires_grad:
            return [], torch.zeros(number, 0), torch.zeros(number, 0, 0)
        slopes = torch.autograd.grad(total, list(leaves.values()), create_graph=True, allow_unused=True)
        used = {key: slope.flatten(1) for key, slope in zip(leaves, slopes, strict=True) if slope is not None}
        read = [leaves[key] for key in used]
        gradient = torch.cat(list(used.values()), 1)
        rows = [_row(column, read) for column in gradient.T]
    hessian = torch.stack(rows, 1)
    return list(used), _finite(gradient.detach()), _finite((hessian + hessian.mT) / 2)


def _row(column: Tensor, read: list[Tensor]) -> Tensor:
    """One row of the Hessian, (N,n): the derivatives of one number's slope (N,) with respect to the fields read."""
    changes: Sequence[Tensor | None] = [None] * len(read)
    if column.requires_grad:
        changes = torch.autograd.grad(column.sum(), read, retain_graph=True, allow_unused=True)
    flat = [torch.zeros_like(x) if change is None else change for x, change in zip(read, changes, strict=True)]
    return torch.cat([x.flatten(1) for x in flat], 1)


def _finite(values: Tensor) -> Tensor:
    return torch.nan_to_num(values, 0.0, 0.0, 0.0)
