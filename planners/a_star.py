"""A*: the cheapest path to a goal over the graph of cells, guided by a lower bound on the cost-to-go.

Hart, Nilsson & Raphael, "A Formal Basis for the Heuristic Determination of Minimum Cost Paths", IEEE Transactions on
Systems Science and Cybernetics 4(2), 1968.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from planners.capabilities import Discretisable, Guided
from planners.cells.best_first import GraphParams, Route, improve
from planners.dijkstra import unguided
from planners.search.search import Search
from planners.search.warm import WarmPlanner


class AStar(WarmPlanner[GraphParams, Route]):
    """Expands nodes in order of cost-so-far plus heuristic, as hybrid-state A* does, if the problem is `Guided`.

    Without a heuristic it is Dijkstra's algorithm. A heuristic that turns out to be inconsistent is refused, because
    the path might then not be the cheapest.
    """

    Params = GraphParams
    needs = Discretisable

    def improve(self, search: Search[Any], rng: np.random.Generator, memory: Route | None) -> Route | None:
        """Search from the root, and evaluate the cheapest path.

        Raises Unsuited if `most_reward` is too small, or if the heuristic is found not to be a consistent lower bound.
        """
        problem = search.problem
        heuristic = problem.heuristic if isinstance(problem, Guided) else unguided
        return improve(search, self.params, heuristic, memory)
