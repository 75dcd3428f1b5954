"""A*: the cheapest path to a goal over the graph of cells, guided by a lower bound on what is still to pay.

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
    """Nodes take their turns in order of cost so far plus heuristic, where the problem is `Guided`; a heuristic that is
    found not to be consistent is refused, as the path might not be the cheapest. Without one it is Dijkstra's."""

    Params = GraphParams
    needs = Discretisable

    def improve(self, search: Search[Any], rng: np.random.Generator, memory: Route | None) -> Route | None:
        """Search from the root, and evaluate the path.

        Raises Unsuited where `most_reward` is too small, or the heuristic claims too much.
        """
        problem = search.problem
        heuristic = problem.heuristic if isinstance(problem, Guided) else unguided
        return improve(search, self.params, heuristic, memory)
