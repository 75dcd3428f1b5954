"""The default values in trajectories where a model or a problem provides none."""

from __future__ import annotations

import pytest
import torch

from envs.trajectory import no_doubt, nothing


def test_every_trajectory_has_a_doubt_of_its_own() -> None:
    """Writing into one trajectory's doubt does not change another's."""
    actions = torch.ones(4, 5, 2)
    no_doubt(actions)[0, 0] = 1.0
    assert torch.equal(no_doubt(actions), torch.zeros(4, 5, dtype=torch.float64))


def test_only_what_has_no_elements_is_shared() -> None:
    assert nothing(4, 0) is nothing(4, 0)
    assert nothing(4, 3, 0).shape == (4, 3, 0)
    assert nothing(4, 0).dtype == torch.float64
    with pytest.raises(ValueError, match=r"shape \(4, 3\) given"):
        nothing(4, 3)
