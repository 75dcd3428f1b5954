"""Cells of a space: points, neighbours, periodic axes, ends, and more cells than machine integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from planners.capabilities import Space
from planners.cells.grid import Grid, GridParams, grid

SPACE = Space(
    ("angle", "slide", "speed"),
    np.array([-np.pi, 0.0, -np.inf]),
    np.array([np.pi, 2.0, np.inf]),
    np.array([True, False, False]),
)


def small_grid() -> Grid:
    return grid(SPACE, GridParams(cells=(8, 5, 3), bound=4.0))


def test_points_are_their_own_cells_and_corners() -> None:
    made = small_grid()
    assert made.size == 120
    assert_array_equal(made.nearest(made.points), np.arange(120))
    corner, weight, inside = made.corners(made.points)
    assert inside.all()
    rows, columns_ = np.nonzero(weight)
    assert_array_equal(corner[rows, columns_], np.arange(120))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_interpolation_is_exact_for_what_is_linear(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = small_grid()
    at = rng.uniform([-np.pi, 0, -4], [np.pi, 2, 4], (20, 3))
    corner, weight, inside = made.corners(at)
    assert inside.all()
    assert_allclose(weight.sum(1), 1)
    points = made.points[corner]
    assert_allclose((weight[..., None] * points[..., 1:]).sum(1), at[:, 1:], atol=1e-9)
    turned = np.angle((weight * np.exp(1j * (points[..., 0] - at[:, None, 0]))).sum(1))
    assert np.abs(turned).max() < 0.05, "around the circle too"


def test_a_circle_closes_and_a_grid_ends() -> None:
    made = small_grid()
    ends = made.nearest(np.array([[np.pi - 1e-6, 1.0, 0.0], [-np.pi, 1.0, 0.0]]))
    assert ends[0] == ends[1]
    outside = np.array([[0.0, 2.5, 0.0], [0.0, 1.0, 6.5], [np.nan, 1.0, 0.0]])
    found = made.nearest(outside)
    assert found[0] == made.nearest(np.array([[0.0, 2.0, 0.0]]))[0], "a soft limit gives way"
    assert found[1] == found[2] == -1
    assert made.corners(outside)[2].tolist() == [True, False, False]


def test_one_cell_tells_nothing_apart() -> None:
    made = grid(SPACE, GridParams(cells=(8, 5, 1), bound=4.0))
    assert made.nearest(np.array([[0.0, 1.0, -3.9]])) == made.nearest(np.array([[0.0, 1.0, 3.9]]))


def test_cells_of_a_space_larger_than_machine_numbers_are_told_apart() -> None:
    size = 24
    wide = Space(tuple(map(str, range(size))), np.full(size, -1.0), np.full(size, 1.0), np.zeros(size, bool))
    made = grid(wide, GridParams(cells=31))
    places = np.concatenate([np.full((1, size), -1.0), np.full((1, size), 1.0), 2.0 * np.eye(size) - 1.0])
    found = made.nearest(places).tolist()
    assert found == [0, 31**size - 1, *(30 * 31 ** (size - 1 - d) for d in range(size))]
    assert made.size == 31**size


def test_a_number_for_each_coordinate() -> None:
    with pytest.raises(ValueError, match="cells: 2 given, allowed: one, or 3: angle, slide, speed"):
        grid(SPACE, GridParams(cells=(8, 5)))
