"""Value iteration: the cost still to pay from every grid point, and a plan that follows it down.

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

SWEEPS = 0.9  # share of a budget in seconds after which sweeps end


@dataclass(frozen=True)
class ValueIterationParams(GridParams):
    """Parameters of value iteration."""

    discount: float = 0.99  # g, per control step; 1: `sweeps` edges ahead are all that counts
    sweeps: int = 1000  # at most
    tolerance: float = 1e-6  # sweeps end where the greatest change of a value is less

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("discount", 0 < self.discount <= 1, "0 < discount <= 1")
        self.require("sweeps", 1 <= self.sweeps <= 1_000_000, "1 to 1,000,000")
        self.require("tolerance", 0 <= self.tolerance < np.inf, "0 <= tolerance < inf")


@dataclass(frozen=True, eq=False)
class Values:
    """What is known of a problem, whichever root a plan starts from."""

    table: Transitions
    alive: np.ndarray  # (M,) bool, what is left of the grid
    edges: np.ndarray  # (m,E) bool, and the edges that stay in it
    value: np.ndarray  # (M,), 0 where not alive
    sweeps: int = 0  # done on this table
    settled: bool = False  # nothing is left to be improved


class ValueIteration(WarmPlanner[ValueIterationParams, Values]):
    """The table of edges is simulated as far as each plan's budget reaches, near the first root first; what is not
    known yet counts as the worst that is. It is kept for as long as the problem stays the same."""

    Params = ValueIterationParams
    needs = Discretisable

    def improve(self, search: Search[Any], rng: np.random.Generator, memory: Values | None) -> Values | None:
        """Learn more of the table, and evaluate the greedy plan."""
        p = self.params
        problem = cast(DiscretisableProblem[Any], search.problem)  # as `needs` says
        if memory is None or memory.table.identity != problem.identity():
            table = blank(problem, p)
            memory = Values(table, *table.survivors(), np.zeros(len(table.order)))
        reserve = len(memory.table.actions) + 1  # the greedy plan, and its judgement
        table = grown(memory.table, search, p, reserve)
        if table is not memory.table:
            memory = Values(table, *table.survivors(), np.zeros(len(table.order)))
        if not memory.settled:
            memory = solved(memory, p, lambda: search.past(SWEEPS))
        if search.left >= reserve:  # late or not: a table that is not whole yet has its plan too
            ahead = self._ahead(problem, memory)
            search.evaluate(lookahead(search, problem.root(), 0, table.actions, p.hold, ahead)[None])
        return memory

    def _ahead(self, problem: Discretisable, known: Values) -> Callable[[Tensor], tuple[np.ndarray, np.ndarray]]:
        """How far nodes (N,S) are out of what is left of the grid (0 where most of their neighbours are in it), and
        their value, interpolated between those."""
        factor = self.params.discount**self.params.hold

        def ahead(nodes: Tensor) -> tuple[np.ndarray, np.ndarray]:
            corner, weight, inside = known.table.grid.corners(problem.coordinates(nodes).numpy())
            weight = weight * known.alive[corner]
            trust = weight.sum(1)
            value = (weight * known.value[corner]).sum(1) / np.maximum(trust, 1e-12)
            return np.where(inside, np.where(trusted(trust), 0.0, 1.0 - trust), 1.0), factor * value

        return ahead


def solved(known: Values, params: ValueIterationParams, late: Callable[[], bool] = lambda: False) -> Values:
    """Sweep on until the values settle, the sweeps are over, or `late` says so."""
    table, value, sweeps = known.table, known.value, known.sweeps
    chances = table.matrix(known.alive, known.edges)
    cost = np.where(known.edges, table.cost, np.inf)
    factor = params.discount**params.hold
    alive = known.alive[table.known]
    settled = not alive.any()
    while not settled and not late():
        best = (cost + factor * (chances @ value).reshape(cost.shape)).min(1)
        after = np.full(len(value), best[alive].max())  # what is not known yet counts as the worst that is
        after[table.known] = np.where(alive, best, 0.0)
        sweeps += 1
        settled = sweeps >= params.sweeps or bool(np.abs(after - value).max() < params.tolerance)
        value = after
    return replace(known, value=value, sweeps=sweeps, settled=settled)
