"""What ending hopeless candidates could spare, against simulation by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import hopeless


@pytest.mark.parametrize("seed", range(5))
def test_what_is_spared_never_changes_who_is_kept(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = (seed % 2) * rng.random((20, 8)) - rng.random((20, 8)) * (rng.random((20, 1)) < 0.7)
    kept, least = 4, -1.0
    last = np.sort(costs.sum(1))[kept - 1]
    on_the_way = in_the_end = 0
    for row in costs:
        after = {"way": 0, "end": 0}
        for t in reversed(range(7)):
            bound = row[: t + 1].sum() + least * (7 - t)
            others = np.sort(costs[:, : t + 1].sum(1))[kept - 1] + costs.max() * (7 - t)
            after["way"] = 7 - t if bound > others + 1e-9 else after["way"]
            after["end"] = 7 - t if bound > last + 1e-9 else after["end"]
        on_the_way, in_the_end = on_the_way + after["way"], in_the_end + after["end"]
        if row.sum() <= last:
            assert after == {"way": 0, "end": 0}, "who is kept is never given up"
    assert hopeless.spared(costs, kept, least) == (on_the_way, in_the_end)
    assert on_the_way <= in_the_end


def test_a_search_that_keeps_all_spares_nothing() -> None:
    assert hopeless.spared(np.random.default_rng(0).random((4, 5)), 4, -1.0) == (0, 0)


def test_a_candidate_that_can_earn_nothing_is_known_to_be_hopeless() -> None:
    costs = np.zeros((3, 10))
    costs[0] = -1.0
    assert hopeless.spared(costs, 1, -1.0) == (2 * 4, 2 * 9)
