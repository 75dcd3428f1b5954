"""Dijkstra's algorithm: the cheapest path to a goal over the graph of cells.

Dijkstra, "A note on two problems in connexion with graphs", Numerische Mathematik 1 (1959), problem 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from planners.capabilities import Discretisable
from planners.cells.best_first import GraphParams, Route, improve
from planners.search.search import Search
from planners.search.warm import WarmPlanner


class Dijkstra(WarmPlanner[GraphParams, Route]):
    """Expands nodes in order of cost-so-far (uniform-cost search); the state remembers the last route."""

    Params = GraphParams
    needs = Discretisable

    def improve(self, search: Search[Any], rng: np.random.Generator, memory: Route | None) -> Route | None:
        """Search from the root, and evaluate the cheapest path.

        Raises Unsuited if `most_reward` is too small.
        """
        return improve(search, self.params, unguided, memory)


def unguided(nodes: Tensor) -> Tensor:
    """The zero heuristic, (N,S) -> (N,)."""
    return torch.zeros(len(nodes), dtype=torch.float64)
