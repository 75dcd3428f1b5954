"""`tolerance` equals dm_control's function, for batches."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from dm_control.utils import rewards as dm
from hypothesis import given
from hypothesis import strategies as st

from envs.rewards import Sigmoid, tolerance

BOUND = st.floats(-1e3, 1e3)
VALUES = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8)


@pytest.mark.parametrize("sigmoid", get_args(Sigmoid))
@given(
    values=VALUES,
    bounds=st.tuples(BOUND, BOUND),
    margin=st.just(0.0) | st.floats(1e-3, 1e3),
    value_at_margin=st.floats(0.01, 0.99),
    open_above=st.booleans(),
)
def test_tolerance_is_that_of_dm_control(sigmoid, values, bounds, margin, value_at_margin, open_above):
    lower, upper = min(bounds), float("inf") if open_above else max(bounds)
    theirs = dm.tolerance(np.array(values), (lower, upper), margin, sigmoid, value_at_margin)
    ours = tolerance(torch.tensor(values, dtype=torch.float64), lower, upper, margin, sigmoid, value_at_margin)
    assert ours.dtype == torch.float64
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigmoid", ["cosine", "linear", "quadratic"])
@given(values=VALUES, margin=st.floats(1e-3, 1e3))
def test_these_sigmoids_may_end_at_zero(sigmoid, values, margin):
    theirs = dm.tolerance(np.array(values), (0, 1), margin, sigmoid, value_at_margin=0)
    ours = tolerance(torch.tensor(values, dtype=torch.float64), 0, 1, margin, sigmoid, value_at_margin=0)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigmoid", get_args(Sigmoid))
def test_bounds_and_margin_may_be_batched(sigmoid):
    values = torch.linspace(-3, 3, 25, dtype=torch.float64).reshape(5, 5)
    lower = torch.linspace(-1, 0, 5, dtype=torch.float64)[:, None]
    upper, margin = lower + 0.5, lower + 2
    ours = tolerance(values, lower, upper, margin, sigmoid)
    assert ours.shape == values.shape
    for row in range(5):
        bounds = (float(lower[row]), float(upper[row]))
        theirs = dm.tolerance(values[row].numpy(), bounds, float(margin[row]), sigmoid)
        np.testing.assert_allclose(ours[row].numpy(), theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigmoid", get_args(Sigmoid))
def test_the_gradient_is_finite(sigmoid):
    values = torch.linspace(-3, 3, 25, dtype=torch.float64, requires_grad=True)
    tolerance(values, -0.5, 0.5, 1.0, sigmoid).sum().backward()
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()
