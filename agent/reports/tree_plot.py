"""The picture of a search tree: where the planner looked, over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.reports.plots import BLUE, INK, MUTED, RED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from planners.tree import Tree

WIDEST = 4.0  # points, of an edge that every simulation went through


def draw(
    tree: Tree, coordinates: Mapping[str, np.ndarray], dt: float, best: int | None = None
) -> Callable[[Figure], None]:
    """For `plots.png`: a panel for each coordinate, every edge from its parent's time and place to its own.

    Width tells visits, colour the value (the return of whole futures through the node); what is infeasible is red,
    and the path to `best` bold.

    Args:
        tree: M nodes.
        coordinates: what a coordinate is -> that of each node, (M,). At least one.
        dt: s per control step.
        best: the node where the drawn path ends; that of the feasible future of greatest return where None.
    """

    def panels(figure: Figure) -> None:
        cells: Any = figure.subplots(len(coordinates), 1, sharex=True, squeeze=False)[:, 0]
        drawn: Any = None
        for cell, (label, values) in zip(cells, coordinates.items(), strict=True):
            drawn = _panel(cell, tree, np.stack([tree.time * dt, values], 1), best)
            cell.set(ylabel=label)
        nodes, visits = len(tree.parent), int(tree.visits[0])
        cells[0].set(title=f"Search tree: {nodes} nodes, {visits} simulations")
        cells[0].legend(loc="upper left", frameon=True, framealpha=0.85)
        cells[-1].set(xlabel="s ahead")
        figure.colorbar(drawn, ax=list(cells), label="return of whole futures through the node")

    return panels


def unwrapped(tree: Tree, values: np.ndarray, period: float) -> np.ndarray:
    """A periodic coordinate (M,), every node going on from its parent by the shorter way round."""
    found = values.copy()
    for node in range(1, len(found)):  # parents come first
        before = found[tree.parent[node]]
        found[node] = before + (values[node] - before + period / 2) % period - period / 2
    return found


def _panel(axes: Any, tree: Tree, points: np.ndarray, best: int | None) -> Any:
    """The tree with its nodes at `points` (M,2), seconds and coordinate; the edges that a colour bar explains."""
    children = np.arange(1, len(tree.parent))
    valued = children[tree.feasible[1:] & np.isfinite(tree.value[1:])]
    valued = valued[np.argsort(tree.value[valued], kind="stable")]  # the best on top
    _edges(axes, tree, points, children[tree.feasible[1:] & ~np.isfinite(tree.value[1:])], color=MUTED, alpha=0.5)
    drawn = _edges(axes, tree, points, valued, cmap="viridis", alpha=0.8)
    drawn.set_array(tree.value[valued])
    if len(valued):  # a few bad futures would otherwise take up all colours
        drawn.set_clim(*np.quantile(tree.value[valued], [0.1, 1.0]))
    broken = children[~tree.feasible[1:]]
    _edges(axes, tree, points, broken, color=RED, alpha=0.7)
    axes.scatter(*points[broken].T, color=RED, s=9, marker="x", lw=0.8, label=f"infeasible ({len(broken)})", zorder=3)
    path = tree.path(_end(tree) if best is None else best)
    axes.plot(*points[path].T, color=INK, lw=2.6, label="best path", zorder=4)
    axes.scatter(*points[:1].T, color=BLUE, s=40, label="now", zorder=5)
    return drawn


def _edges(axes: Any, tree: Tree, points: np.ndarray, which: np.ndarray, **style: Any) -> Any:
    """The edges to the nodes `which` (E,), as one collection."""
    from matplotlib.collections import LineCollection

    widths = 0.4 + WIDEST * np.sqrt(tree.visits[which] / max(int(tree.visits[0]), 1))
    lines = LineCollection(list(np.stack([points[tree.parent[which]], points[which]], 1)), linewidths=widths, **style)
    axes.add_collection(lines)
    axes.autoscale_view()
    return lines


def _end(tree: Tree) -> int:
    """Where the feasible future of greatest return ends; where there is none, the last node reached."""
    whole = np.setdiff1d(np.flatnonzero(tree.feasible & np.isfinite(tree.value)), tree.parent)
    if len(whole) == 0:
        return int(tree.time.argmax())
    return int(whole[tree.value[whole].argmax()])
