"""Properties of single algorithms beyond the conformance suite, and the registry's own behaviour."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch

from planners import registry
from planners.icem import Icem
from planners.problem import Budget, Evaluation, Limits
from planners.sampling.distribution import elites, softmin, split
from planners.search.select import Scores


class Bowl:
    horizon, action_size, dt = 12, 1, 0.1
    proposals = {"fallback": torch.zeros(12, 1, dtype=torch.float64)}  # noqa: RUF012

    def evaluate(self, actions):
        n = len(actions)
        cost = (actions[..., 0] - 0.3).square()
        final = torch.zeros(n, dtype=torch.float64)
        return Evaluation(cost, final, final.new_zeros(n, 0), torch.ones(n) > 0, Limits.none())

    def imagine(self, actions):
        raise NotImplementedError


def test_mppi_weighs_feasible_candidates_only():
    cost = np.array([1.0, 2.0, 3.0, -50.0, np.inf])
    violation = np.array([0.0, 0.0, 0.0, 0.1, np.inf])
    w = softmin(Scores(violation, cost), 0.5)
    np.testing.assert_allclose(w, np.array([1, np.exp(-2), np.exp(-4), 0, 0]) / (1 + np.exp(-2) + np.exp(-4)))
    np.testing.assert_allclose(softmin(Scores(violation, 7 * cost - 3), 0.5), w, err_msg="scale and offset")


def test_mppi_moves_towards_safety_when_nothing_is_feasible():
    w = softmin(Scores(np.array([3.0, 1.0, 2.0, np.inf]), np.array([0.0, 9.0, 9.0, np.inf])), 0.5)
    assert w.argmax() == 1
    assert w[3] == 0
    assert w[0] < w[2]
    assert softmin(Scores(np.full(3, np.inf), np.full(3, np.inf)), 0.5) is None
    assert softmin(Scores(np.zeros(2), np.ones(2)), 0.5).tolist() == [0.5, 0.5]


def test_icem_carries_shifted_elites_and_evaluates_nothing_twice():
    planner = Icem()
    first, state = planner.plan(planner.start(0), Bowl(), Budget(evaluations=100))
    elites = state.distribution.elites
    assert elites.shape == (3, 12, 1)
    expected = np.concatenate([elites[:, 2:], elites[:, -1:], elites[:, -1:]], axis=1)
    second, _ = planner.plan(planner.advance(state, 2), Bowl(), Budget(evaluations=100))
    begin = second.population.actions[second.population.iteration == 0]
    for elite in torch.from_numpy(expected):
        assert (begin == elite).all((1, 2)).any()
    for plan in (first, second):
        sampled = plan.population.actions[2:]
        assert len(torch.unique(sampled, dim=0)) == len(sampled)


def test_icem_evaluates_its_mean_in_the_last_iteration():
    plan, state = Icem().plan(Icem().start(0), Bowl(), Budget(evaluations=300))
    last = plan.population.actions[plan.population.iteration == 2]
    spread = (plan.population.actions[plan.population.iteration == 0][1:] - 0.3).abs().mean()
    assert (last[0] - 0.3).abs().mean() < 0.5 * spread
    assert (plan.population.cost[-len(last) :] > plan.population.cost[-len(last)]).float().mean() > 0.5
    assert state.distribution.std.max() < 0.5


def test_split_sums_and_decays():
    assert split(100, 3) == (33, 34, 33)
    assert split(191, 3, decay=1.25, minimum=20) == (78, 63, 50)
    assert split(30, 3, minimum=20) == (30,)
    assert split(2, 3) == (1, 1)
    assert sum(split(7, 7, decay=9.0)) == 7
    assert 0 not in split(7, 7, decay=9.0)


def test_entry_points_feed_the_table(monkeypatch, tmp_path):
    def points(name):
        return lambda group: [EntryPoint(name, "planners.icem:Icem", group)]

    registry.table.cache_clear()
    monkeypatch.setattr(registry, "entry_points", points("mine"))
    assert registry.make("mine", elites=4).params.elites == 4
    registry.table.cache_clear()
    monkeypatch.setattr(registry, "entry_points", points("icem"))
    with pytest.raises(ValueError, match=r"'icem' is both planners\.icem:Icem and"):
        registry.table()
    registry.table.cache_clear()
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "bare.py").write_text("from planners.icem import Icem\nclass X(Icem):\n    class Params: pass")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("theirs", "json:JSONDecoder", "telos.planners")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    with pytest.raises(ValueError, match=r"'theirs', at json:JSONDecoder: without Params, needs, start, plan, advance"):
        registry.make("theirs")
    for target, said in {
        "json:loads": "a function; allowed: module:Class",
        "broken:X": "ZeroDivisionError: division by zero; allowed: module:Class",
        "bare:X": "with Params that are no dataclass",
    }.items():
        registry.table.cache_clear()
        entry = EntryPoint("theirs", target, "telos.planners")
        with pytest.raises(ValueError, match=said):
            registry.make("theirs")
    monkeypatch.undo()
    registry.table.cache_clear()
    assert set(registry.table()) >= set(registry.BUILT_IN)
    assert all(entry.summary and "\n" not in entry.summary for entry in registry.table().values())


def test_a_margin_that_is_no_number_makes_no_elite():
    """A candidate with a NaN margin has infinite violation, even if its cost is the lowest."""
    knots = np.arange(3.0).reshape(3, 1, 1)
    scores = Scores(np.array([np.inf, 0.0, np.inf]), np.array([-9.0, 1.0, np.inf]))
    chosen, kept = elites(knots, scores, 3)
    assert chosen.tolist() == [[[1.0]]]
    assert kept.cost.tolist() == [1.0]
