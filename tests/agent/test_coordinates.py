"""Plain coordinates of the simulator's states, and the test whether two problems are the same."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from agent import build
from agent.composition.branching import DiscretisableProblem
from agent.composition.compose import problem_over
from agent.composition.judge import Exact
from agent.config.config import Config, CostConfig
from agent.config.load import load
from envs import registry
from envs.errors import TelosError
from envs.guardrails.registry import build as guardrails
from envs.physics.batch import PhysicsOptions
from envs.residuals import Residual
from envs.task import Snapshot, TaskParams
from planners.capabilities import Discretisable
from planners.cells.grid import GridParams, grid
from tests.agent.conftest import Routed
from worldmodels.belief import Belief
from worldmodels.simulator.simulator import Simulator

PENDULUM, POINT, REACHER = (
    "dm_control/pendulum-swingup-v0",
    "dm_control/point_mass-easy-v0",
    "dm_control/reacher-easy-v0",
)
SPEED = {"kind": "joint_velocity", "name": "calm", "joint": "hinge", "limit": 6.0, "unit": "rad/s"}


def problem(
    task_id: str,
    rules: tuple[dict[str, Any], ...] = (),
    options: PhysicsOptions | None = None,
    seed: int = 0,
    **cost: Any,
) -> DiscretisableProblem:
    env = registry.make(task_id)
    env.reset(seed=seed)
    _, costs = build.objective(CostConfig.model_validate(cost), env.task)
    guards = guardrails(rules)
    model = Simulator(env.task, env.interface, (*costs.requests, *guards.requests), options, threads=1)
    fallback = torch.zeros(5, env.interface.action_size, dtype=torch.float64)
    made = DiscretisableProblem(model, costs, Exact(guards), Belief.at(env.snapshot()), 5, {"fallback": fallback})
    env.close()
    return made


@pytest.mark.parametrize(("task_id", "size"), [(PENDULUM, 2), (POINT, 4), ("dm_control/cartpole-swingup-v0", 4)])
def test_coordinates_and_places_are_inverse(task_id: str, size: int) -> None:
    made = problem(task_id)
    space = made.space()
    assert len(space.names) == size == len(space.low) == len(space.high) == len(space.periodic)
    low, high = np.maximum(space.low, -3), np.minimum(space.high, 3)
    at = torch.from_numpy(np.random.default_rng(0).uniform(low, high, (20, size)))
    nodes = made.place(at)
    torch.testing.assert_close(made.coordinates(nodes), at, rtol=0, atol=1e-12)
    torch.testing.assert_close(made.place(made.coordinates(nodes)), nodes, rtol=0, atol=1e-12)
    assert isinstance(made, Discretisable)
    assert issubclass(problem_over(made.model, robust=False), DiscretisableProblem)


@pytest.mark.parametrize("task_id", [PENDULUM, POINT])
def test_what_is_placed_goes_on_like_the_real_thing(task_id: str) -> None:
    """A node reached by actions and a node placed at its coordinates have the same successors."""
    made = problem(task_id)
    rng = np.random.default_rng(0)
    first = torch.from_numpy(rng.uniform(-1, 1, (6, 4, made.action_size)))
    then = torch.from_numpy(rng.uniform(-1, 1, (6, 3, made.action_size)))
    reached = made.step(made.root().repeat(6, 1), first).nodes
    one, two = made.step(reached, then), made.step(made.place(made.coordinates(reached)), then)
    torch.testing.assert_close(made.coordinates(one.nodes), made.coordinates(two.nodes), rtol=0, atol=1e-6)
    torch.testing.assert_close(one.cost, two.cost, rtol=0, atol=1e-6)


def test_bounds_are_those_of_the_joints() -> None:
    space = problem(POINT).space()
    assert space.names == ("root_x", "root_y", "root_x velocity", "root_y velocity")
    assert space.low.tolist() == [-0.29, -0.29, -np.inf, -np.inf]
    assert space.high.tolist() == [0.29, 0.29, np.inf, np.inf]
    assert not space.periodic.any()


def test_angles_without_limits_close() -> None:
    made = problem(PENDULUM)
    space = made.space()
    assert space.periodic.tolist() == [True, False]
    turns = torch.tensor([[0.3], [np.pi - 0.01], [-np.pi], [np.pi]], dtype=torch.float64)
    still = torch.cat([turns, torch.zeros_like(turns)], 1)
    for whole in (-2, 1, 5):
        moved = still + torch.tensor([2 * np.pi * whole, 0.0], dtype=torch.float64)
        found = made.coordinates(made.place(moved))
        assert (found[:, 0] >= -np.pi).all()
        assert (found[:, 0] < np.pi).all()
        gap = torch.from_numpy(np.angle(np.exp(1j * (found - still)[:, 0].numpy())))
        torch.testing.assert_close(gap, torch.zeros_like(gap), rtol=0, atol=1e-9)
    cells = grid(space, GridParams(cells=(31, 5)))
    ends = torch.tensor([[np.pi - 1e-9, 0.0], [-np.pi + 1e-9, 0.0]], dtype=torch.float64)
    one, two = cells.nearest(made.coordinates(made.place(ends)).numpy())
    assert one == two


@pytest.mark.parametrize(
    ("task_id", "units"),
    [(PENDULUM, ("rad", "rad/s")), ("dm_control/cartpole-swingup-v0", ("m", "rad", "m/s", "rad/s"))],
)
def test_coordinates_have_units(task_id: str, units: tuple[str, ...]) -> None:
    assert problem(task_id).space().units == units


def test_rotations_in_space_have_no_coordinates() -> None:
    made = problem("dm_control/quadruped-walk-v0")
    for ask in (made.space, lambda: made.coordinates(made.root())):
        with pytest.raises(TelosError, match=r"chart: joint 'root': given mjJNT_FREE"):
            ask()


def test_another_number_of_coordinates_is_refused() -> None:
    with pytest.raises(TelosError, match=r"place: coordinates: given shape \(3, 3\); allowed: \(N,2\)"):
        problem(PENDULUM).place(torch.zeros(3, 3, dtype=torch.float64))


def test_equal_problems_have_one_identity() -> None:
    made, again = problem(PENDULUM, (SPEED,), effort=0.1), problem(PENDULUM, (SPEED,), effort=0.1)
    assert made.identity() == again.identity()
    moved = Belief.at(Snapshot(made.start.simulated.state + 0.1, made.start.params))
    elsewhere = replace(made, start=moved, horizon=9)
    assert elsewhere.identity() == made.identity(), "neither start nor horizon changes where an edge leads"


def test_whatever_changes_an_edge_changes_the_identity() -> None:
    residual = Residual(signal="joint_velocity/hinge", norm="quadratic")
    stricter = {**SPEED, "limit": 5.0}
    different = [
        problem(PENDULUM),
        problem(PENDULUM, effort=0.1),
        problem(PENDULUM, effort=0.2),
        problem(PENDULUM, task=2.0),
        problem(PENDULUM, residuals=[residual.model_dump()]),
        problem(PENDULUM, residuals=[residual.model_copy(update={"target": 1.0}).model_dump()]),
        problem(PENDULUM, (SPEED,)),
        problem(PENDULUM, (stricter,)),
        problem(PENDULUM, options=PhysicsOptions(timestep=0.01)),
        problem(PENDULUM, options=PhysicsOptions(integrator="RK4")),
        problem(PENDULUM, options=PhysicsOptions(noslip_iterations=3)),
        problem("dm_control/cartpole-swingup-v0"),
        problem("dm_control/cartpole-balance-v0"),
    ]
    assert len({made.identity() for made in different}) == len(different)


def test_what_a_reset_writes_changes_the_identity() -> None:
    made, other = problem(REACHER, seed=0), problem(REACHER, seed=1)
    assert not made.start.params.same_model(other.start.params), "the test needs another target"
    assert made.identity() != other.identity()
    params = TaskParams(made.start.params.model, MappingProxyType({"speed": np.ones(1)}))
    told = replace(made, start=Belief.at(Snapshot(made.start.simulated.state, params)))
    assert told.identity() != made.identity(), "what a reward reads counts too"


def fewest_steps(config: Config, start: np.ndarray, speed: float = 0.1, period: float = 0.02) -> float:
    """A lower bound on the control steps to the target.

    King's moves over 5 mm cells at full speed on both axes (0.1 m/s, force over damping), around the maze's walls. The
    path ends within 2.25 cm of the target, where the reward suffices.
    """
    side = np.arange(-0.29, 0.2901, 0.005)
    place = np.stack(np.meshgrid(side, side, indexing="ij"), -1)
    free = np.ones(place.shape[:2], bool)
    for rule in config.guardrails:
        middle, half = rule["zone"]["center"][:2], rule["zone"]["half_sizes"][:2]
        outside = np.maximum(np.abs(place - middle) - half, 0)
        free &= np.hypot(*np.moveaxis(outside, -1, 0)) >= rule["clearance"] - 1e-9
    n = len(side)
    number, rows, columns = np.arange(n * n).reshape(n, n), [], []
    for dx, dy in ((0, 1), (1, 0), (1, 1), (1, -1)):
        cut = slice(max(0, -dy), n - max(0, dy))
        here, there = number[: n - dx, cut], number[dx:, max(0, dy) : n + min(0, dy)]
        both = free.ravel()[here] & free.ravel()[there]
        rows.append(here[both])
        columns.append(there[both])
    graph = csr_matrix((np.ones(sum(map(len, rows))), (np.concatenate(rows), np.concatenate(columns))), (n * n, n * n))
    goal = np.flatnonzero(np.hypot(*np.moveaxis(place, -1, 0)).ravel() <= 0.0225)
    moves = dijkstra(graph, directed=False, indices=goal, unweighted=True, min_only=True).reshape(n, n)
    return float(moves[tuple(np.rint((start + 0.29) / 0.005).astype(int))]) * 0.005 / speed / period


@pytest.mark.parametrize("start", [(-0.048, 0.128), (0.0, -0.22)])
def test_the_maze_is_left_by_its_shortest_way(routed: Routed, start: tuple[float, float]) -> None:
    """At most 50 steps above the lower bound: about 15 for the start from rest, and 20 because edges are whole."""
    plan, route, made = routed("dijkstra", start)
    assert route.goal
    least = fewest_steps(load("maze"), np.array(start))
    rewarded = int(np.argmax(made.evaluate(plan.actions[None]).step_cost[0].numpy() < -0.7))
    assert least <= rewarded <= least + 50
