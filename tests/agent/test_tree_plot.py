"""The picture of a search tree shows what the tree says."""

from __future__ import annotations

import numpy as np
import torch

from agent import tree_plot
from planners.tree import Tree


def test_every_edge_is_drawn_and_the_infeasible_ones_are_counted() -> None:
    tree = Tree(
        parent=np.array([-1, 0, 0, 1]),
        time=np.array([0, 2, 2, 4]),
        visits=np.array([3, 2, 1, 2]),
        value=np.array([1.0, 1.0, np.nan, 1.0]),
        feasible=np.array([True, True, False, True]),
        actions=np.zeros((4, 2, 1)),
        nodes=torch.tensor([[0.0], [0.5], [-0.5], [0.8]]),
    )
    figure = tree_plot.draw(tree, lambda nodes: nodes[:, 0], dt=0.1, label="position, m")
    axes = figure.axes[0]
    assert sum(len(lines.get_segments()) for lines in axes.collections if hasattr(lines, "get_segments")) == 3
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "infeasible (1)" in texts
    (best,) = [line for line in axes.lines if line.get_label() == "best path"]
    np.testing.assert_allclose(best.get_xydata(), [[0, 0], [0.2, 0.5], [0.4, 0.8]], atol=1e-6)
    assert axes.get_title(loc="left") + axes.get_title() == "Search tree: 4 nodes, 3 simulations"
