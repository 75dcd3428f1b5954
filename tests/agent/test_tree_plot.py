"""The picture of a search tree shows the data of the tree."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

from agent.reports import tree_plot
from planners.tree import Tree


def tree_of_four() -> Tree:
    return Tree(
        parent=np.array([-1, 0, 0, 1]),
        time=np.array([0, 2, 2, 4]),
        visits=np.array([3, 2, 1, 2]),
        value=np.array([1.0, 1.0, np.nan, 1.0]),
        feasible=np.array([True, True, False, True]),
        actions=np.zeros((4, 2, 1)),
        nodes=torch.tensor([[0.0], [0.5], [-0.5], [0.8]]),
    )


def test_every_edge_is_drawn_and_the_infeasible_ones_are_counted() -> None:
    tree, figure = tree_of_four(), Figure()
    tree_plot.draw(tree, {"position, m": np.array([0.0, 0.5, -0.5, 0.8]), "speed": np.zeros(4)}, dt=0.1)(figure)
    axes, below = figure.axes[:2]
    assert [axes.get_ylabel(), below.get_ylabel()] == ["position, m", "speed"]
    assert sum(len(lines.get_segments()) for lines in axes.collections if hasattr(lines, "get_segments")) == 3
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "infeasible (1)" in texts
    (best,) = [line for line in axes.lines if line.get_label() == "best path"]
    np.testing.assert_allclose(best.get_xydata(), [[0, 0], [0.2, 0.5], [0.4, 0.8]], atol=1e-6)
    assert axes.get_title(loc="left") + axes.get_title() == "Search tree: 4 nodes, 3 simulations"


def test_a_turning_joint_goes_on_from_its_parent_by_the_shorter_way() -> None:
    angles = np.array([3.0, -3.0, 2.9, -2.0])
    expected = [3.0, 2 * np.pi - 3.0, 2.9, 2 * np.pi - 2.0]
    np.testing.assert_allclose(tree_plot.unwrapped(tree_of_four(), angles, 2 * np.pi), expected)
