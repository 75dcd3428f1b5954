"""The picture of a search tree: where the planner looked, over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from agent.plots import BLUE, INK, MUTED, RED, STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from planners.tree import Tree

WIDEST = 4.0  # points, of an edge that every simulation went through


def draw(
    tree: Tree,
    coordinates: Callable[[Tensor], Tensor],
    dt: float,
    label: str = "coordinate",
    best: int | None = None,
) -> Figure:
    """Every edge from its parent's time and coordinate to its own; straight between them.

    Width tells visits, colour the value (the return of whole futures through the node); what is infeasible is red,
    and the path to `best` bold.

    Args:
        tree: M nodes of S numbers.
        coordinates: nodes (M,S) -> one coordinate of each, (M,).
        dt: s per control step.
        label: what the coordinate is, with its unit.
        best: the node where the drawn path ends; that of the feasible future of greatest return where None.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.4), layout="constrained")
        FigureCanvasAgg(figure)
        _panel(figure, tree, np.stack([tree.time * dt, coordinates(tree.nodes).detach().numpy()], 1), label, best)
    return figure


def _panel(figure: Figure, tree: Tree, points: np.ndarray, label: str, best: int | None) -> None:
    """The tree with its nodes at `points` (M,2), seconds and coordinate."""
    axes: Any = figure.subplots()
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
    figure.colorbar(drawn, ax=axes, label="return of whole futures through the node")
    nodes, visits = len(tree.parent), int(tree.visits[0])
    axes.set(title=f"Search tree: {nodes} nodes, {visits} simulations", xlabel="s ahead", ylabel=label)
    axes.legend(loc="upper left", frameon=True, framealpha=0.85)


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
