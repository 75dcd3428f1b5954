"""The picture of a search tree: the positions that the planner explored, over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.reports.plots import BLUE, INK, MUTED, RED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from planners.tree import Tree

WIDEST = 4.0  # points; added width of an edge through which every simulation went


def draw(
    tree: Tree, coordinates: Mapping[str, np.ndarray], dt: float, best: int | None = None
) -> Callable[[Figure], None]:
    """Return a function for `plots.png` that draws the tree, with one panel for each coordinate.

    Each edge goes from the parent's time and coordinate to the node's. Its width shows the visits, and its colour the
    value, which is the return of whole futures through the node. Infeasible edges are red, and the path to `best` is
    bold.

    Args:
        tree: M nodes.
        coordinates: label of a coordinate -> its value at each node, (M,). At least one coordinate.
        dt: s per control step.
        best: the node at which the bold path ends; None means the end of the feasible future of greatest return.
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
    """Unwrap a periodic coordinate (M,), so that each node differs from its parent by at most half a period."""
    found = values.copy()
    for node in range(1, len(found)):  # parents come before their children
        before = found[tree.parent[node]]
        found[node] = before + (values[node] - before + period / 2) % period - period / 2
    return found


def _panel(axes: Any, tree: Tree, points: np.ndarray, best: int | None) -> Any:
    """Draw the tree with its nodes at `points` (M,2), s and coordinate; return the edges that the colour bar shows."""
    children = np.arange(1, len(tree.parent))
    valued = children[tree.feasible[1:] & np.isfinite(tree.value[1:])]
    valued = valued[np.argsort(tree.value[valued], kind="stable")]  # draw the best last, on top
    _edges(axes, tree, points, children[tree.feasible[1:] & ~np.isfinite(tree.value[1:])], color=MUTED, alpha=0.5)
    drawn = _edges(axes, tree, points, valued, cmap="viridis", alpha=0.8)
    drawn.set_array(tree.value[valued])
    if len(valued):  # without this, a few bad futures would take up most of the colour scale
        drawn.set_clim(*np.quantile(tree.value[valued], [0.1, 1.0]))
    broken = children[~tree.feasible[1:]]
    _edges(axes, tree, points, broken, color=RED, alpha=0.7)
    axes.scatter(*points[broken].T, color=RED, s=9, marker="x", lw=0.8, label=f"infeasible ({len(broken)})", zorder=3)
    path = tree.path(_end(tree) if best is None else best)
    axes.plot(*points[path].T, color=INK, lw=2.6, label="best path", zorder=4)
    axes.scatter(*points[:1].T, color=BLUE, s=40, label="now", zorder=5)
    return drawn


def _edges(axes: Any, tree: Tree, points: np.ndarray, which: np.ndarray, **style: Any) -> Any:
    """Draw the edges to the nodes `which` (E,), and return them as one collection."""
    from matplotlib.collections import LineCollection

    widths = 0.4 + WIDEST * np.sqrt(tree.visits[which] / max(int(tree.visits[0]), 1))
    lines = LineCollection(list(np.stack([points[tree.parent[which]], points[which]], 1)), linewidths=widths, **style)
    axes.add_collection(lines)
    axes.autoscale_view()
    return lines


def _end(tree: Tree) -> int:
    """The node at which the feasible future of greatest return ends; without one, the node furthest ahead in time."""
    whole = np.setdiff1d(np.flatnonzero(tree.feasible & np.isfinite(tree.value)), tree.parent)
    if len(whole) == 0:
        return int(tree.time.argmax())
    return int(whole[tree.value[whole].argmax()])
