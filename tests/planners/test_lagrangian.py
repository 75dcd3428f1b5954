"""The augmented Lagrangian of iLQR: a merit for line searches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from planners.descent.lagrangian import Lagrangian
from planners.problem import Limits

LIMITS = Limits(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
LAGRANGIAN = Lagrangian(multipliers=np.full((3, 2), 0.5), penalty=10.0, slack=0.0, limits=LIMITS)


def merit(*margin: float) -> float:
    margins = torch.tensor([margin], dtype=torch.float64)
    return float(LAGRANGIAN.merit(np.array([1.0]), margins)[0])


def test_a_candidate_that_holds_every_guardrail_has_its_cost() -> None:
    assert merit(0.3, 2.0) == 1.0


def test_a_violation_costs_its_multipliers_and_the_penalty() -> None:
    assert merit(-0.2, 2.0) == pytest.approx(1.0 + 3 * 0.5 * 0.2 + 0.5 * 10.0 * 0.2**2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_margin_that_is_not_finite_is_no_improvement(bad: float) -> None:
    assert merit(bad, 2.0) == np.inf
