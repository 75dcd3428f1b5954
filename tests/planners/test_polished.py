"""The planner that samples, then descends: each does what it would do alone, with its share of the budget."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from planners.icem import Icem, IcemParams
from planners.ilqr import IlqrParams
from planners.polished import Polished, PolishedParams
from planners.problem import Budget
from planners.sampling import SamplingState
from tests.planners.test_gradient import Glider, planned


def test_without_room_for_a_descent_it_is_icem() -> None:
    """One step of it costs 25 evaluations here, and its references 3."""
    alone, polished = Icem(), Polished(PolishedParams(share=0.5))
    one, other = alone.start(3), polished.start(3)
    for _ in range(3):
        plan, one = alone.plan(one, Glider(), Budget(evaluations=40))
        same, other = polished.plan(other, Glider(), Budget(evaluations=40))
        assert torch.equal(plan.actions, same.actions)
        assert plan.statistics.evaluations == same.statistics.evaluations
        one, other = alone.advance(one, 1), polished.advance(other, 1)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_descent_begins_where_the_search_ended(share: float) -> None:
    polished = Polished(PolishedParams(share=share))
    budget = 300
    plan, _ = polished.plan(polished.start(0), Glider(), Budget(evaluations=budget))
    alone = Icem()
    found, _ = alone.plan(alone.start(0), Glider(), Budget(evaluations=budget - round(share * budget)))
    assert plan.cost < found.cost
    assert plan.cost == pytest.approx(planned("ilqr", Glider()).cost, rel=1e-6)
    assert 0.9 * budget <= plan.statistics.evaluations <= budget


def test_all_that_was_evaluated_is_there_in_order() -> None:
    polished = Polished()
    plan, _ = polished.plan(polished.start(0), Glider(), Budget(evaluations=300))
    assert plan.population is not None
    iterations = plan.population.iteration.numpy()
    assert (np.diff(iterations) >= 0).all()
    assert iterations[-1] <= plan.statistics.iterations
    assert plan.cost == plan.population.cost.min().item()


def test_the_next_search_begins_around_the_plan() -> None:
    polished = Polished(PolishedParams(search=IcemParams(knots=5), descent=IlqrParams(samples=0)))
    plan, state = polished.plan(polished.start(0), Glider(), Budget(evaluations=300))
    assert state.previous is not None
    assert state.distribution is not None
    np.testing.assert_array_equal(state.previous, plan.actions.numpy())
    assert state.distribution.mean.shape == (5, 1)
    assert np.abs(state.distribution.mean[0] - state.previous[0]).max() < 0.2


def test_a_problem_without_expansions_is_refused() -> None:
    class Blind:
        proposals = Glider().proposals

    with pytest.raises(ValueError, match=r"Polished\.plan: Blind, which is not Linearisable"):
        Polished().plan(SamplingState(0), Blind(), Budget(evaluations=9))  # pyright: ignore


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_leaves_something_to_both(share: float) -> None:
    with pytest.raises(ValueError, match=r"share.*0 < share < 1"):
        PolishedParams(share=share)
