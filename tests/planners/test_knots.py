import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planners.search.knots import INTERPOLATIONS, shift, spline

kinds = pytest.mark.parametrize("kind", INTERPOLATIONS)
sizes = st.integers(1, 40).flatmap(lambda h: st.tuples(st.integers(1, h), st.just(h)))


@kinds
@given(size=sizes, seed=st.integers(0, 99))
def test_expand_stays_in_bounds_and_fit_undoes_it(kind, size, seed):
    curve = spline(kind, *size)
    knots = np.random.default_rng(seed).uniform(-1, 1, (3, size[0], 2))
    actions = curve.expand(knots)
    assert actions.shape == (3, size[1], 2)
    assert np.abs(actions).max() <= 1
    assert actions.flags.c_contiguous
    np.testing.assert_allclose(curve.fit(actions), knots, atol=1e-9)


@kinds
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_action_component_is_expanded_by_itself(kind, size):
    curve = spline(kind, 5, 12)
    knots = np.random.default_rng(0).uniform(-0.5, 0.5, (7, 5, size))  # nothing to clip
    actions = curve.expand(knots)
    for component in range(size):
        np.testing.assert_allclose(actions[..., component], knots[..., component] @ curve.matrix.T, atol=1e-12)


@kinds
@given(size=sizes)
def test_constant_stays_constant(kind, size):
    curve = spline(kind, *size)
    constant = np.full((1, size[0], 1), 0.3)
    np.testing.assert_allclose(curve.expand(constant), 0.3, atol=1e-12)
    np.testing.assert_allclose(curve.shift(constant[0], 3), 0.3, atol=1e-9)


@kinds
def test_one_knot_per_step_is_the_identity(kind):
    curve = spline(kind, 7, 7)
    knots = np.random.default_rng(0).uniform(-1, 1, (2, 7, 3))
    assert curve.expand(knots) is knots
    np.testing.assert_array_equal(curve.shift(knots[0], 2), shift(knots[0], 2))


def test_shapes_of_the_curves():
    knots = np.array([0.0, 1.0, 0.0])[None, :, None]
    assert spline("zero", 3, 7).expand(knots)[0, :, 0].tolist() == [0, 0, 0, 1, 1, 0, 0]
    np.testing.assert_allclose(spline("linear", 3, 7).expand(knots)[0, :, 0], [0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0])
    cubic = spline("cubic", 3, 9).expand(knots)[0, :, 0]
    assert cubic[4] == 1
    np.testing.assert_allclose(cubic, cubic[::-1])
    x = np.linspace(-0.8, 0.8, 5)
    for kind in ("linear", "cubic"):  # both reproduce a straight line
        np.testing.assert_allclose(spline(kind, 5, 17).expand(x[None, :, None])[0, :, 0], np.linspace(-0.8, 0.8, 17))


def test_cubic_overshoots_and_is_clipped():
    curve = spline("cubic", 4, 31)
    knots = np.array([-1.0, 1.0, 1.0, -1.0])
    assert (curve.matrix @ knots).max() > 1.05
    assert curve.expand(knots[None, :, None]).max() == 1


def test_shift_holds_the_last_action():
    actions = np.arange(5.0)[:, None]
    assert shift(actions, 2)[:, 0].tolist() == [2, 3, 4, 4, 4]
    assert shift(actions, 99)[:, 0].tolist() == [4] * 5
    assert shift(actions, 0)[:, 0].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="-1"):
        shift(actions, -1)


@kinds
def test_many_small_shifts_do_move_the_plan(kind):
    """Zero-order plans sampled at their knots would never move; linear least squares would drift."""
    curve = spline(kind, 5, 20)
    knots = np.zeros((5, 1))
    knots[-1] = 0.8
    for _ in range(30):
        knots = curve.shift(knots, 1)
    np.testing.assert_allclose(knots, 0.8, atol=0.1)


@kinds
def test_shift_of_a_smooth_plan_is_the_plan_later(kind):
    curve = spline(kind, 10, 40)
    knots = 0.5 * np.sin(np.linspace(0, 3, 10))[:, None]
    before, after = curve.expand(knots[None])[0], curve.expand(curve.shift(knots, 8)[None])[0]
    np.testing.assert_allclose(after[:30], before[8:38], atol=0.06)


def test_errors_say_what_is_allowed():
    with pytest.raises(ValueError, match="knots = 9 given, allowed: 1 to horizon = 8"):
        spline("zero", 9, 8)
    with pytest.raises(ValueError, match="'quintic' given, allowed"):
        spline("quintic", 2, 8)
