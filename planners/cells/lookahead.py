"""Greedy (one-edge lookahead) actions from a node to the horizon, chosen edge by edge on the problem's dynamics.

E actions, A action size, H control steps of the horizon, S columns of a node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from planners.capabilities import Steppable
from planners.search.search import Search

Ahead = Callable[[Tensor], tuple[np.ndarray, np.ndarray]]
"""Nodes (N,S) -> doubt that safe edges continue from there, (N,) in [0,1], and estimated cost-to-go, (N,)."""


def nothing_ahead(nodes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """No doubt and no cost-to-go: edges are compared by their own costs only."""
    return np.zeros(len(nodes)), np.zeros(len(nodes))


def lookahead(
    search: Search[Any], node: Tensor, begin: int, actions: np.ndarray, hold: int, ahead: Ahead = nothing_ahead
) -> np.ndarray:
    """The greedy actions (H - begin, A) from `node` (1,S), reached after `begin` control steps.

    At each node, it takes the edge with the smallest violation, then the smallest doubt, then the smallest cost plus
    cost-to-go. Ties go to the first action. It simulates at most E * (H - begin) control steps. If the time budget is
    used up before the horizon, the first action fills the rest.
    """
    problem, horizon = search.problem, search.problem.horizon
    assert isinstance(problem, Steppable)
    chosen = np.repeat(actions[:1], horizon - begin, 0)
    for at in range(0, horizon - begin, hold):
        if search.late:
            break
        steps = min(hold, horizon - begin - at)
        edges = torch.from_numpy(np.repeat(actions[:, None], steps, 1))
        stepped = problem.step(node.repeat(len(actions), 1), edges)
        search.spend(len(actions) * steps)
        doubt, rest = ahead(stepped.nodes)
        done = stepped.done.numpy()
        total = stepped.cost.numpy() + np.where(done, 0.0, rest)
        best = int(np.lexsort((total, np.where(done, 0.0, doubt), stepped.violation))[0])
        chosen[at : at + steps] = actions[best]
        node = stepped.nodes[best : best + 1]
        if done[best]:
            break
    return chosen
