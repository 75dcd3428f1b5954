import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from planners.problem import Evaluation, Limits
from planners.search.select import first, order, scores

number = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.nan, math.inf, -math.inf]))
row = st.tuples(number, st.lists(number, min_size=2, max_size=2), st.booleans())
LIMITS = Limits(torch.tensor([0.0, 1.0]).double(), torch.tensor([1.0, 4.0]).double())


def best(evaluation):
    return first(scores(evaluation))


def evaluation(rows, guardrails=2):
    cost = torch.tensor([r[0] for r in rows], dtype=torch.float64)
    margin = torch.tensor([r[1] for r in rows], dtype=torch.float64)[:, :guardrails]
    limits = Limits(LIMITS.tolerance[:guardrails], LIMITS.scale[:guardrails])
    valid = torch.tensor([r[2] for r in rows])
    return Evaluation(torch.zeros(len(rows), 3, dtype=torch.float64), cost, margin, valid, limits)


def place(row):
    """The documented order as a sort key of one candidate; smaller is better."""
    cost, margin, valid = row
    if not valid or not math.isfinite(cost):
        return (math.inf, math.inf)
    bad = [
        max(0.0, (-tolerance - m) / scale) if math.isfinite(m) else math.inf
        for m, tolerance, scale in zip(margin, LIMITS.tolerance.tolist(), LIMITS.scale.tolist(), strict=True)
    ]
    return (max(bad), cost)


@given(st.lists(row, min_size=1, max_size=12))
def test_ranking_is_the_order(rows):
    expected = sorted(range(len(rows)), key=lambda i: place(rows[i]))  # stable: ties keep their order
    assert order(scores(evaluation(rows))).tolist() == expected
    assert best(evaluation(rows)) == expected[0]


@given(st.lists(row, min_size=1, max_size=12))
def test_feasible_is_never_beaten_by_infeasible(rows):
    e = evaluation(rows)
    sound = torch.isfinite(e.cost) & e.valid
    if (e.feasible & sound).any():
        assert e.feasible[best(e)]
        assert e.cost[best(e)] == e.cost[e.feasible & sound].min()
    elif sound.any():
        assert e.violation[best(e)] == e.violation[sound].min()


@given(st.lists(row, min_size=1, max_size=8), st.randoms())
def test_the_chosen_place_does_not_depend_on_the_order_given(rows, random):
    mixed = random.sample(rows, len(rows))
    assert place(rows[best(evaluation(rows))]) == place(mixed[best(evaluation(mixed))])


@given(st.lists(row, min_size=1, max_size=12))
def test_without_guardrails_cost_decides(rows):
    e = evaluation(rows, guardrails=0)
    sound = torch.isfinite(e.cost) & e.valid
    if sound.any():
        assert e.cost[best(e)] == e.cost[sound].min()
        assert sound[best(e)]


def test_a_safe_average_of_margins_saves_nobody():
    """With two guardrails, one broken and one kept by a large margin, a candidate is infeasible."""
    assert best(evaluation([(0.0, [-1.0, 99.0], True), (9.0, [0.0, -1.0], True)])) == 1


def test_single_precision_and_gradients_are_read():
    e = Evaluation(
        torch.zeros(2, 3, requires_grad=True),
        torch.tensor([2.0, 1.0]),
        torch.zeros(2, 0),
        torch.ones(2) > 0,
        Limits.none(),
    )
    assert best(e) == 1
    assert scores(e).cost.dtype == "float64"


def test_no_candidates_is_an_error():
    empty = torch.zeros(0)
    with pytest.raises(ValueError, match="0 candidates"):
        best(Evaluation(torch.zeros(0, 3), empty, torch.zeros(0, 0), empty > 0, Limits.none()))
