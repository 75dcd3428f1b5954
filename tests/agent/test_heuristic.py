"""The point mass's lower bound on the cost-to-go: consistent on every edge, and useful in the maze."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agent import build
from agent.composition.branching import DiscretisableProblem
from agent.composition.judge import Exact
from agent.config.config import CostConfig
from envs import registry
from envs.guardrails.registry import build as guardrails
from planners.capabilities import Guided
from tests.agent.conftest import Routed
from worldmodels.belief import Belief
from worldmodels.simulator.simulator import Simulator

POINT = "dm_control/point_mass-easy-v0"


def problem(task_id: str = POINT, **cost: Any) -> DiscretisableProblem:
    env = registry.make(task_id)
    env.reset(seed=0)
    _, costs = build.objective(CostConfig.model_validate(cost), env.task)
    model = Simulator(env.task, env.interface, costs.requests, threads=1)
    fallback = torch.zeros(5, env.interface.action_size, dtype=torch.float64)
    made = DiscretisableProblem(
        model, costs, Exact(guardrails(())), Belief.at(env.snapshot()), 5, {"fallback": fallback}
    )
    env.close()
    return made


def drawn(rng: np.random.Generator, number: int, speed: float) -> np.ndarray:
    """Random positions in the arena and speeds up to `speed`; a quarter of the positions are at the joint stops."""
    at = np.column_stack([rng.uniform(-0.289, 0.289, (number, 2)), rng.uniform(-speed, speed, (number, 2))])
    at[: number // 4, :2] = np.sign(at[: number // 4, :2]) * 0.29
    return at


def pushed(rng: np.random.Generator, number: int, steps: int) -> Tensor:
    """Held actions, many of them at their limits."""
    return torch.from_numpy(np.repeat(rng.uniform(-2, 2, (number, 1, 2)).clip(-1, 1), steps, 1))


@pytest.mark.parametrize("speed", [0.1, 0.5])
@pytest.mark.parametrize("steps", [1, 6, 20])
def test_no_edge_costs_less_than_the_bound_falls(steps: int, speed: float) -> None:
    made, rng = problem(), np.random.default_rng(steps)
    nodes = made.place(torch.from_numpy(drawn(rng, 1000, speed)))
    for _ in range(4):  # continue from the ends of edges, also deeper into the stops
        before = made.heuristic(nodes)
        stepped = made.step(nodes, pushed(rng, len(nodes), steps))
        above = stepped.cost + steps
        assert float((above + made.heuristic(stepped.nodes) - before).min()) >= -1e-9
        nodes = stepped.nodes
    if speed == 0.1:
        assert float(made.coordinates(nodes)[:, 2:].abs().max()) <= 0.1, "force over damping, 0.1 N over 1 N s/m"


def test_the_bound_is_tight_where_the_way_is_straight() -> None:
    """At full speed towards the target, until it is near, the bound falls by exactly the cost paid."""
    made = problem()
    nodes = made.place(torch.tensor([[0.28, 0.0, -0.0999, 0.0]], dtype=torch.float64))
    before = float(made.heuristic(nodes)[0])
    assert before == pytest.approx((0.28 - 0.03 - 0.1 * 0.5 / 1.8) / 0.002 - 1, rel=1e-6)
    ahead = torch.tensor([-1.0, 0.0], dtype=torch.float64).expand(1, 100, 2).contiguous()
    stepped = made.step(nodes, ahead)
    paid = float(stepped.cost[0]) + 100
    assert 0 <= paid + float(made.heuristic(stepped.nodes)[0]) - before < 0.2


def test_nothing_is_claimed_where_an_edge_may_end_at_a_goal() -> None:
    made, rng = problem(), np.random.default_rng(0)
    for steps in (1, 5, 25):
        at = np.column_stack([rng.uniform(-0.06, 0.06, (4000, 2)), rng.uniform(-0.1, 0.1, (4000, 2))])
        stepped = made.step(made.place(torch.from_numpy(at)), pushed(rng, len(at), steps))
        goal = stepped.cost + steps <= 0.5 * steps
        assert int(goal.sum()) > 100
        assert not made.heuristic(stepped.nodes[goal]).any()


def test_it_is_offered_for_the_plain_task_alone() -> None:
    plain = problem()
    assert isinstance(plain, Guided)
    node = plain.place(torch.tensor([[0.2, 0.1, 0.0, 0.0]], dtype=torch.float64))
    known = float(plain.heuristic(node)[0])
    assert known > 30
    assert float(problem(task=2.5).heuristic(node)[0]) == pytest.approx(2.5 * known)
    residual = {"signal": "joint_velocity/root_x", "norm": "quadratic"}
    for other in (problem(effort=0.1), problem(residuals=[residual]), problem(task=-1.0), problem(task=0.0)):
        assert other.heuristic(node).tolist() == [0.0]
    pendulum = problem("dm_control/pendulum-swingup-v0")
    assert pendulum.heuristic(pendulum.root()).tolist() == [0.0]


@pytest.mark.parametrize("start", [(-0.079, 0.0), (-0.079, -0.05), (-0.079, 0.079)])
def test_a_star_finds_what_dijkstra_finds_in_fewer_nodes(routed: Routed, start: tuple[float, float]) -> None:
    """With cells so small that none holds two nodes, both find exactly the cheapest path over the same edges."""
    fine = {"cells": [4000, 4000, 400, 400], "hold": 15}
    _, blind, _ = routed("dijkstra", start, **fine)
    _, guided, made = routed("a_star", start, **fine)
    assert blind.goal
    assert guided.goal
    assert guided.cost == blind.cost
    assert guided.expanded < blind.expanded
    assert 0 < float(made.heuristic(made.root())[0]) <= blind.cost


def test_a_star_is_guided_through_the_maze_as_it_ships(routed: Routed) -> None:
    """Its cells hold many nodes, and the first node represents the cell, so the costs may differ by that error."""
    start = (-0.048, 0.128)
    _, blind, made = routed("dijkstra", start)
    _, guided, _ = routed("a_star", start)
    assert blind.goal
    assert guided.goal
    assert guided.expanded < 0.6 * blind.expanded
    assert guided.cost == pytest.approx(blind.cost, abs=1.0)
    node, ahead = made.root(), [float(made.heuristic(made.root())[0])]
    paid = [0.0]
    edges = np.split(blind.plan[: len(blind.edges) * 20], len(blind.edges))
    for step in edges:  # each node's bound against its true cost-to-go
        stepped = made.step(node, torch.from_numpy(step[None]))
        node = stepped.nodes
        paid.append(paid[-1] + float(stepped.cost[0]) + len(step))
        ahead.append(float(made.heuristic(node)[0]))
    assert (np.array(ahead) <= paid[-1] - np.array(paid) + 1e-6).all()
    assert paid[-1] == pytest.approx(blind.cost)
