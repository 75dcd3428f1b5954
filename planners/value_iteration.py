"""Value iteration: the optimal cost-to-go of every grid point, and a plan that is greedy with respect to it.

Bellman, "Dynamic Programming", 1957: V(x) = min over u of c(x,u) + g V(f(x,u)).
M grid points, E actions, H control steps, S columns of a node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from torch import Tensor

from planners.capabilities import Discretisable, DiscretisableProblem
from planners.cells.grid import GridParams
from planners.cells.lookahead import lookahead
from planners.cells.transitions import Transitions, blank, grown, trusted
from planners.search.search import Search
from planners.search.warm import WarmPlanner

SWEEPS = 0.9  # share of a budget in seconds at which the sweeps end


@dataclass(frozen=True)
class ValueIterationParams(GridParams):
    """Parameters of value iteration."""

    discount: float = 0.99  # g, per control step; 1: undiscounted, over a horizon of `sweeps` edges
    sweeps: int = 1000  # at most
    tolerance: float = 1e-6  # the sweeps end when the largest change of a value is smaller

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("discount", 0 < self.discount <= 1, "0 < discount <= 1")
        self.require("sweeps", 1 <= self.sweeps <= 1_000_000, "1 to 1,000,000")
        self.require("tolerance", 0 <= self.tolerance < np.inf, "0 <= tolerance < inf")


@dataclass(frozen=True, eq=False)
class Values:
    """The table of edges and its values, which do not depend on the root of a plan."""

    table: Transitions
    alive: np.ndarray  # (M,) bool, the grid points that `Transitions.survivors` left
    edges: np.ndarray  # (m,E) bool, the edges that it left
    value: np.ndarray  # (M,), cost-to-go; 0 where not alive
    sweeps: int = 0  # sweeps done on this table
    settled: bool = False  # whether the sweeps have ended: values converged, or all sweeps used


class ValueIteration(WarmPlanner[ValueIterationParams, Values]):
    """Dynamic programming on a grid of states (value iteration, Bellman backups), over a table of simulated edges.

    Each plan extends the table as far as its budget allows, beginning with the points nearest to the first root. Points
    that are not known yet get the worst value of the known ones. The table is kept while the problem stays the same.
    """

    Params = ValueIterationParams
    needs = Discretisable

    def improve(self, search: Search[Any], rng: np.random.Generator, memory: Values | None) -> Values | None:
        """Extend the table, update the values, and evaluate the greedy plan."""
        p = self.params
        problem = cast(DiscretisableProblem[Any], search.problem)  # as `needs` says
        if memory is None or memory.table.identity != problem.identity():
            table = blank(problem, p)
            memory = Values(table, *table.survivors(), np.zeros(len(table.order)))
        reserve = len(memory.table.actions) + 1  # evaluations for choosing the greedy plan and evaluating it
        table = grown(memory.table, search, p, reserve)
        if table is not memory.table:
            memory = Values(table, *table.survivors(), np.zeros(len(table.order)))
        if not memory.settled:
            memory = solved(memory, p, lambda: search.past(SWEEPS))
        if search.left >= reserve:  # even if time is up: an incomplete table gives a plan, too
            ahead = self._ahead(problem, memory)
            search.evaluate(lookahead(search, problem.root(), 0, table.actions, p.hold, ahead)[None])
        return memory

    def _ahead(self, problem: Discretisable, known: Values) -> Callable[[Tensor], tuple[np.ndarray, np.ndarray]]:
        """A function from nodes (N,S) to their doubt (N,) and discounted value (N,), for `lookahead`.

        The doubt is 0 if most of the interpolation weight is on alive grid points. Otherwise it is the weight that is
        not, and 1 outside the grid. The value is interpolated between the alive points.
        """
        factor = self.params.discount**self.params.hold

        def ahead(nodes: Tensor) -> tuple[np.ndarray, np.ndarray]:
            corner, weight, inside = known.table.grid.corners(problem.coordinates(nodes).numpy())
            weight = weight * known.alive[corner]
            trust = weight.sum(1)
            value = (weight * known.value[corner]).sum(1) / np.maximum(trust, 1e-12)
            return np.where(inside, np.where(trusted(trust), 0.0, 1.0 - trust), 1.0), factor * value

        return ahead


def solved(known: Values, params: ValueIterationParams, late: Callable[[], bool] = lambda: False) -> Values:
    """Continue sweeping until the values converge, all sweeps are used, or `late` returns True."""
    table, value, sweeps = known.table, known.value, known.sweeps
    chances = table.matrix(known.alive, known.edges)
    cost = np.where(known.edges, table.cost, np.inf)
    factor = params.discount**params.hold
    alive = known.alive[table.known]
    settled = not alive.any()
    while not settled and not late():
        best = (cost + factor * (chances @ value).reshape(cost.shape)).min(1)
        after = np.full(len(value), best[alive].max())  # unknown points get the worst known value
        after[table.known] = np.where(alive, best, 0.0)
        sweeps += 1
        settled = sweeps >= params.sweeps or bool(np.abs(after - value).max() < params.tolerance)
        value = after
    return replace(known, value=value, sweeps=sweeps, settled=settled)
