"""The cost-to-go of goals: learned on a line, where the time between two states is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agent.cost.reach import ReachCritic, ReachHead
from agent.learning.reach import Reach
from agent.learning.recipe import ReachConfig
from agent.memory.episode import Episode
from agent.memory.ring import Ring
from envs.trajectory import Signals, Trajectory


def walks(episodes: int = 40, steps: int = 30) -> Ring:
    """Episodes on a line: each moves on by 0.1 a step, half of them with pauses of 3 steps."""
    ring = Ring(10_000, 1, 1)
    for index in range(episodes):
        pace = 1 if index % 2 == 0 else 4
        seen = (0.1 * (np.arange(steps + 1) // pace) + 0.05 * index)[:, None]
        blank = np.zeros((steps, 0))
        ring.add(Episode(seen, np.zeros((steps, 1)), np.zeros(steps), blank, np.zeros((0, 0))))
    return ring


@pytest.fixture(scope="module")
def learned() -> ReachHead:
    settings = ReachConfig(width=32, batch=128, expectile=0.02, negatives=0.0, updates_per_frame=1.0)
    made, ring = Reach(lambda seen: seen, 1, settings, 5, 800, 0), walks()
    for number in range(800):
        made.update(ring, number)
    return made.head


@pytest.mark.parametrize("steps", [5, 10, 20])
def test_the_quickest_way_is_learned(learned: ReachHead, steps: int) -> None:
    """Half of the walks take four times as long."""
    with torch.no_grad():
        found = learned(torch.tensor([[1.0]]), torch.tensor([[1.0 + 0.1 * steps]]))
    assert found.item() == pytest.approx(steps, abs=0.25 * steps)


def test_pairs_are_of_one_episode_in_its_order() -> None:
    ring = walks(4)
    pairs = ring.pairs(np.random.default_rng(0), 500)
    apart = (pairs.after - pairs.before)[:, 0]
    assert (apart >= -1e-6).all()
    assert (apart <= 0.1 * pairs.steps + 0.101).all()
    assert pairs.steps.min() == 0
    assert pairs.steps.max() > 25


def trajectory(*ends: float) -> Trajectory:
    states = torch.tensor(ends).reshape(-1, 1, 1).expand(-1, 3, -1)
    number = len(ends)
    blank = torch.zeros(number, 2, dtype=torch.float64)
    return Trajectory(states, torch.zeros(number, 2, 1), Signals(), torch.ones(number).bool(), blank, 0.1)


def test_what_is_near_the_goal_costs_nothing(learned: ReachHead) -> None:
    critic = ReachCritic(learned, beyond=6.0).towards(torch.tensor([[2.0]], dtype=torch.float64), 1.0)
    cost = critic.terminal_cost(trajectory(1.9, 1.7, 0.6, 0.0), None)  # type: ignore[arg-type]
    assert cost[:2].tolist() == [0.0, 0.0]
    assert cost[2].item() == pytest.approx(14 - 6, abs=3)
    assert cost[3] > cost[2]


def test_without_a_goal_it_costs_nothing(learned: ReachHead) -> None:
    assert not ReachCritic(learned, beyond=0.0).terminal_cost(trajectory(0.0, 5.0), None).any()  # type: ignore[arg-type]
