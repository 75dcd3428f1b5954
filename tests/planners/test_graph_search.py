"""Graph search and dynamic programming against optima from other methods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from planners.a_star import AStar
from planners.capabilities import Discretisable, Guided, Space, Stepped
from planners.cells.best_first import GraphParams, Route
from planners.cells.transitions import Transitions
from planners.dijkstra import Dijkstra
from planners.problem import Budget, Evaluation, Limits, Plan, Unsuited
from planners.trees.actions import action_set
from planners.value_iteration import ValueIteration, ValueIterationParams, Values, solved
from tests.planners.conftest import Clock

ONE = Limits(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))


@dataclass
class World:
    """A problem made of `move`: nodes (N,S) and actions (N,A) -> nodes, cost, margin, done of one control step."""

    horizon: int = 40
    action_size: int = 2
    dt: float = 0.1
    start: tuple[float, ...] = (0.0, 0.0)
    stepped: int = 0  # control steps asked for

    def move(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        raise NotImplementedError

    def space(self) -> Space:
        raise NotImplementedError

    def identity(self) -> str:
        return type(self).__name__

    @property
    def proposals(self) -> Mapping[str, Tensor]:
        return {"fallback": torch.zeros(self.horizon, self.action_size, dtype=torch.float64)}

    def root(self) -> Tensor:
        return torch.tensor([self.start], dtype=torch.float64)

    def coordinates(self, nodes: Tensor) -> Tensor:
        return nodes

    def place(self, coordinates: Tensor) -> Tensor:
        return coordinates

    def imagine(self, actions: Tensor) -> None:
        raise NotImplementedError

    def along(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """End, cost of each step (N,K), worst margin (N,) and whether it ended (N,)."""
        costs, worst, ended = [], np.full(len(nodes), np.inf), np.zeros(len(nodes), bool)
        for t in range(actions.shape[1]):
            nodes, cost, margin, done = self.move(nodes, actions[:, t])
            costs.append(np.where(ended, 0.0, cost))
            worst, ended = np.minimum(worst, margin), ended | done
        return nodes, np.stack(costs, 1), worst, ended

    def step(self, nodes: Tensor, actions: Tensor) -> Stepped:
        self.stepped += actions.shape[0] * actions.shape[1]
        end, cost, margin, done = self.along(nodes.numpy(), actions.numpy())
        valid = torch.ones(len(end), dtype=torch.bool)
        nodes, total, worst, ended = (torch.from_numpy(part) for part in (end, cost.sum(1), margin[:, None], done))
        return Stepped(nodes, total, worst, ended, valid, ONE)

    def evaluate(self, actions: Tensor) -> Evaluation:
        self.stepped += actions.shape[0] * actions.shape[1]
        nodes = self.root().numpy().repeat(len(actions), 0)
        _, cost, margin, _ = self.along(nodes, actions.numpy())
        valid = torch.ones(len(actions), dtype=torch.bool)
        zero = torch.zeros(len(actions), dtype=torch.float64)
        return Evaluation(torch.from_numpy(cost), zero, torch.from_numpy(margin)[:, None], valid, ONE)


@dataclass
class Maze(World):
    """A grid of n x n cells with one king's move per step.

    Entering a cell costs its `toll`, entering the goal nothing. Walls are a guardrail: moves through them are possible
    and cheap, but violate it.
    """

    toll: np.ndarray = field(default_factory=lambda: np.ones((4, 4)))
    wall: np.ndarray = field(default_factory=lambda: np.zeros((4, 4), bool))
    goal: tuple[int, int] = (3, 3)

    def space(self) -> Space:
        last = np.array(self.toll.shape) - 1.0
        return Space(("x", "y"), np.zeros(2), last, np.zeros(2, bool))

    def move(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:  # type: ignore[override]
        after = np.clip(nodes + np.rint(actions), 0, np.array(self.toll.shape) - 1)
        x, y = after.astype(int).T
        there = (x == self.goal[0]) & (y == self.goal[1])
        cost = np.where(there, 0.0, np.where(self.wall[x, y], 2.0**-9, self.toll[x, y]))
        return after, cost, np.where(self.wall[x, y], -1.0, 1.0), np.zeros(len(after), bool)

    def optimum(self) -> float:
        """The optimal cost, by scipy over the graph of the class docstring."""
        n, m = self.toll.shape
        edges: dict[tuple[int, int], float] = {}  # at a border several moves lead to the same cell
        for x, y in np.argwhere(~self.wall):
            for dx, dy in action_set(3, 2).astype(int):
                a, b = np.clip((x + dx, y + dy), 0, (n - 1, m - 1))
                if not self.wall[a, b] and (a, b) != (x, y):
                    edges[x * m + y, a * m + b] = 1.0 if (a, b) == self.goal else float(self.toll[a, b])
        graph = csr_matrix((list(edges.values()), tuple(zip(*edges, strict=True))), (n * m, n * m))
        source = int(self.start[0]) * m + int(self.start[1])
        distance = shortest_path(graph, indices=source)[self.goal[0] * m + self.goal[1]]
        return float(distance) - 1.0  # the last step is free


@dataclass
class GuidedMaze(Maze):
    """A maze with a heuristic: every step but the last costs at least the smallest toll."""

    factor: float = 1.0

    def heuristic(self, nodes: Tensor) -> Tensor:
        steps = (nodes - torch.tensor(self.goal)).abs().amax(1)
        return self.factor * float(self.toll.min()) * (steps - 1).clamp(min=0)


FREE = GraphParams(cells=(4, 4), most_reward=0.0)


def planned(planner: Any, problem: Any, evaluations: int = 5000) -> tuple[Plan[Any], Route]:
    plan, state = planner.plan(planner.start(0), problem, Budget(evaluations=evaluations))
    assert isinstance(state.memory, Route)
    return plan, state.memory


def graph_params(shape: tuple[int, ...], **more: Any) -> GraphParams:
    return GraphParams(cells=shape, most_reward=0.0, **more)


@st.composite
def mazes(draw: st.DrawFn) -> GuidedMaze:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(2, 9)), draw(st.integers(2, 9)))
    # Multiples of 2^-10, so that their sums are exact in any order.
    toll = rng.integers(2**9, 2**10, shape) / 2**10
    wall = rng.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.4]))
    cells = np.argwhere(np.ones(shape, bool))
    start, goal = cells[rng.choice(len(cells), 2, replace=False)]
    wall[tuple(start)] = wall[tuple(goal)] = False
    return GuidedMaze(
        horizon=200, start=tuple(start.astype(float)), toll=toll, wall=wall, goal=(int(goal[0]), int(goal[1]))
    )


# --- Dijkstra and A* -----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(maze=mazes(), batch=st.sampled_from([1, 7, 64]))
def test_mazes_are_solved_exactly(maze: GuidedMaze, batch: int) -> None:
    optimum = maze.optimum()
    params = graph_params(maze.toll.shape, batch=batch)
    plan, route = planned(Dijkstra(params), maze)
    guided_plan, guided = planned(AStar(params), maze)
    if np.isfinite(optimum):
        assert route.goal
        assert guided.goal
        assert route.cost == guided.cost == optimum
        assert plan.feasible
        # The plan executes the found path; waiting at the goal is free.
        assert plan.cost == guided_plan.cost == optimum
        assert guided.expanded <= route.expanded
    else:
        assert not route.goal
        assert not guided.goal
        assert plan.feasible, "there is room to stand still"


@settings(max_examples=12, deadline=None)
@given(maze=mazes())
def test_simulating_ahead_changes_nothing(maze: GuidedMaze) -> None:
    for planner in (Dijkstra, AStar):
        one, first = planned(planner(graph_params(maze.toll.shape, batch=1)), maze)
        many, second = planned(planner(graph_params(maze.toll.shape, batch=50)), maze)
        assert torch.equal(one.actions, many.actions)
        assert first.expanded == second.expanded
        assert first.simulated <= second.simulated


def test_a_heuristic_saves_work() -> None:
    maze = GuidedMaze(toll=np.ones((15, 15)), wall=np.zeros((15, 15), bool), goal=(14, 7), start=(7.0, 7.0))
    params = graph_params((15, 15))
    _, blind = planned(Dijkstra(params), maze)
    _, guided = planned(AStar(params), maze)
    assert blind.cost == guided.cost == 6.0
    assert guided.expanded == 7, "straight to the goal"
    assert blind.expanded > 100
    assert isinstance(maze, Guided)
    assert not isinstance(Maze(), Guided)
    assert planned(AStar(FREE), Maze())[1].expanded == planned(Dijkstra(FREE), Maze())[1].expanded


def test_a_heuristic_that_claims_too_much_is_refused() -> None:
    maze = GuidedMaze(toll=np.ones((6, 6)), wall=np.zeros((6, 6), bool), goal=(5, 5), factor=1.5)
    with pytest.raises(Unsuited, match=r"heuristic: 6 given, allowed: at most 5\.5, .* costs 1 .* gives 4\.5"):
        planned(AStar(graph_params((6, 6))), maze)
    _, route = planned(AStar(graph_params((6, 6))), replace(maze, factor=0.9))
    assert route.cost == 4.0
    planned(Dijkstra(graph_params((6, 6))), maze)  # Dijkstra uses no heuristic


@pytest.mark.parametrize(("value", "message"), [(0.5, "0.5 given at a goal"), (np.nan, "NaN given")])
def test_a_heuristic_at_goals(value: float, message: str) -> None:
    class Wrong(Maze):
        def heuristic(self, nodes: Tensor) -> Tensor:
            return torch.full((len(nodes),), value, dtype=torch.float64)

    with pytest.raises(Unsuited, match=message):
        planned(AStar(FREE), Wrong())


def test_rewards_beyond_the_bound_are_refused() -> None:
    class Earning(Maze):
        def move(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:  # type: ignore[override]
            nodes, cost, margin, done = super().move(nodes, actions)
            return nodes, cost - 1.5, margin, done

    with pytest.raises(ValueError, match=r"most_reward: 1\.0 given, allowed: at least 1\.5"):
        planned(Dijkstra(replace(FREE, most_reward=1.0)), Earning())
    _, route = planned(Dijkstra(replace(FREE, most_reward=1.5)), Earning())
    assert route.goal
    assert route.cost == Maze().optimum()


def test_a_route_that_is_over_is_followed_no_more() -> None:
    """The rest of a finished route is no path to a goal, even if waiting costs as much as predicted."""

    class Touch(Maze):
        """A maze that rewards only the step into the goal."""

        def move(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:  # type: ignore[override]
            after, _, margin, done = super().move(nodes, actions)
            enters = (after == self.goal).all(1) & ~(nodes == self.goal).all(1)
            return after, np.where(enters, -1.0, 0.0), margin, done

    world, made = Touch(), Dijkstra(replace(FREE, most_reward=1.0))
    plan, state = made.plan(made.start(0), world, Budget(evaluations=500))
    assert len(state.memory.edges) == 3
    for _ in range(3):
        after, *_ = world.move(np.array([world.start]), plan.actions[:1].numpy())
        world = replace(world, start=tuple(after[0]))
        plan, state = made.plan(made.advance(state, 1), world, Budget(evaluations=500))
    assert world.start == world.goal
    back, _ = made.plan(made.advance(state, 1), replace(world, start=(0.0, 0.0)), Budget(evaluations=500))
    assert back.cost <= -1.0


@dataclass
class Lanes(World):
    """The first action chooses a lane, and every step moves one cell along it. The cheapest lane ends at a wall."""

    action_size: int = 1

    def space(self) -> Space:
        return Space(("x", "y"), np.array([0.0, -1.0]), np.array([60.0, 1.0]), np.zeros(2, bool))

    def move(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:  # type: ignore[override]
        x, y = nodes.T
        y = np.where(x == 0, np.rint(actions[:, 0]), y)
        margin = np.where((y == -1) & (x >= 2), -1.0, 1.0)
        return np.stack([x + 1, y], 1), np.array([0.1, 1.0, 0.5])[y.astype(int) + 1], margin, np.zeros(len(x), bool)


@pytest.mark.parametrize("planner", [Dijkstra, AStar])
def test_a_search_that_ends_midway_goes_to_no_dead_end(planner: Any) -> None:
    made = planner(GraphParams(cells=(61, 3), batch=1, most_reward=0.0))
    plan, state = made.plan(made.start(0), Lanes(), Budget(evaluations=7))
    assert state.memory.expanded > 3, "the dead end is known"
    assert not state.memory.goal
    assert plan.feasible
    assert plan.cost == 40 * 0.5


def wall_with_a_gap(gap: int) -> GuidedMaze:
    """A wall across the middle of a 9 x 9 maze with a gap in column `gap`; a path through the wall is nearly free."""
    wall = np.zeros((9, 9), bool)
    wall[4] = True
    wall[4, gap] = False
    return GuidedMaze(toll=np.full((9, 9), 1.0), wall=wall, goal=(8, 0))


@pytest.mark.parametrize("planner", [Dijkstra, AStar, ValueIteration])
def test_a_guardrail_is_gone_round_whatever_that_costs(planner: Any) -> None:
    maze = wall_with_a_gap(8)
    if planner is ValueIteration:
        made = ValueIteration(ValueIterationParams(cells=(9, 9), discount=1.0, sweeps=60))
        plan, _ = made.plan(made.start(0), maze, Budget(evaluations=200))
    else:
        plan, _ = planned(planner(graph_params((9, 9))), maze)
    short = replace(maze, wall=np.zeros((9, 9), bool)).optimum()
    assert (short, maze.optimum()) == (7.0, 15.0)
    assert plan.feasible
    assert plan.cost == maze.optimum()


@pytest.mark.parametrize("planner", [Dijkstra, AStar])
def test_a_path_ends_at_the_horizon(planner: Any) -> None:
    """Costs beyond the horizon do not count, so the plan begins with the cheap detour, however long it is."""
    toll = np.full((5, 9), 1 / 16)
    toll[0, 1:8] = 1.0  # the straight path is expensive, the detour cheap
    wall = np.zeros((5, 9), bool)
    wall[1:4, 1:8] = True
    maze = GuidedMaze(horizon=40, toll=toll, wall=wall, goal=(0, 8))
    _, free = planned(planner(graph_params((5, 9))), maze)
    plan, tight = planned(planner(graph_params((5, 9))), replace(maze, horizon=9))
    assert (len(free.edges), free.cost) == (14, 13 / 16)
    assert not tight.goal
    assert plan.cost == tight.cost == 9 / 16


@pytest.mark.parametrize("planner", [Dijkstra, AStar])
@pytest.mark.parametrize("evaluations", [1, 2, 11, 12, 20, 60])
def test_budgets_hold(planner: Any, evaluations: int) -> None:
    maze = wall_with_a_gap(8)
    made = planner(graph_params((9, 9), batch=5))
    plan, _ = made.plan(made.start(0), maze, Budget(evaluations=evaluations))
    assert plan.statistics.evaluations <= evaluations
    assert maze.stepped <= evaluations * maze.horizon
    assert plan.feasible
    if evaluations >= 20:
        assert maze.stepped >= 0.5 * evaluations * maze.horizon or plan.cost == maze.optimum()


@dataclass
class TimedMaze(GuidedMaze):
    """A maze in which one call of `step` or `evaluate` takes 10 ms, and everything else takes no time."""

    clock: Clock = field(default_factory=Clock)

    def step(self, nodes: Tensor, actions: Tensor) -> Stepped:
        self.clock.now += 0.01
        return super().step(nodes, actions)

    def evaluate(self, actions: Tensor) -> Evaluation:
        self.clock.now += 0.01
        return super().evaluate(actions)


def timed_wall_with_a_gap(clock: Clock) -> TimedMaze:
    untimed = wall_with_a_gap(8)
    return TimedMaze(toll=untimed.toll, wall=untimed.wall, goal=untimed.goal, clock=clock)


def test_time_budgets_are_anytime(clock: Clock) -> None:
    maze = timed_wall_with_a_gap(clock)
    made = Dijkstra(graph_params((9, 9), batch=1))
    plan, _ = made.plan(made.start(0), maze, Budget(seconds=1e-9))
    assert plan.statistics.source == "fallback"
    plan, _ = made.plan(made.start(0), maze, Budget(seconds=10.0))
    assert plan.cost == maze.optimum()
    assert plan.statistics.seconds < 5, "it ends when the optimum is known"


def test_a_table_that_is_not_whole_yet_has_its_plan_too(clock: Clock) -> None:
    """With a budget in seconds or in evaluations, the first plan uses what is known so far."""
    maze = timed_wall_with_a_gap(clock)
    made = ValueIteration(ValueIterationParams(cells=(9, 9), discount=1.0, batch=4))
    plan, state = made.plan(made.start(0), maze, Budget(seconds=0.1))
    assert state.memory is not None
    assert 0 < len(state.memory.table.cost) < 81
    assert plan.population is not None
    assert len(plan.population.actions) > 1, "more than the fallback was judged"


@pytest.mark.parametrize("planner", [Dijkstra, AStar])
def test_what_a_critic_foresees_ends_no_search(planner: Any) -> None:
    """The critic shifts all candidates equally, and gives no bound on the cost of steps."""

    class Foreseen(GuidedMaze):
        def evaluate(self, actions: Tensor) -> Evaluation:
            judged = super().evaluate(actions)
            return replace(judged, terminal_cost=judged.terminal_cost - 1e3)

    plain = wall_with_a_gap(8)
    maze = Foreseen(toll=plain.toll, wall=plain.wall, goal=plain.goal)
    made = planner(graph_params((9, 9)))
    plan, _ = made.plan(made.start(0), maze, Budget(evaluations=400))
    assert plan.cost == plain.optimum() - 1e3


@pytest.mark.parametrize("planner", [Dijkstra, AStar])
@pytest.mark.parametrize("cost", [-math.inf, math.inf, math.nan])
def test_an_edge_whose_cost_is_no_number_leads_nowhere(planner: Any, cost: float) -> None:
    class Broken(GuidedMaze):
        def step(self, nodes: Tensor, actions: Tensor) -> Stepped:
            stepped = super().step(nodes, actions)
            down = (actions[:, 0, 1] < 0) & (nodes[:, 1] <= 0.5)
            return replace(stepped, cost=torch.where(down, cost, stepped.cost))

    plain = wall_with_a_gap(8)
    maze = Broken(toll=plain.toll, wall=plain.wall, goal=plain.goal)
    made = planner(graph_params((9, 9)))
    plan, _ = made.plan(made.start(0), maze, Budget(evaluations=400))
    assert plan.cost == plain.optimum()


@dataclass
class Integrator(World):
    """A double integrator to bring to rest at the origin in the least time; x in m, v in m/s, |a| <= 1 m/s^2."""

    horizon: int = 60
    action_size: int = 1
    start: tuple[float, ...] = (1.0, 0.0)
    near: float = 0.08  # tolerance of the goal, for x and for v

    def space(self) -> Space:
        return Space(("x", "v"), np.array([-2.0, -np.inf]), np.array([2.0, np.inf]), np.zeros(2, bool))

    def move(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:  # type: ignore[override]
        a, dt = actions[:, 0], self.dt
        x, v = nodes.T
        after = np.stack([x + dt * v + 0.5 * dt**2 * a, v + dt * a], 1)
        there = np.abs(after).max(1) <= self.near
        return after, np.where(there, 0.0, 1.0), np.ones(len(after)), np.zeros(len(after), bool)

    def heuristic(self, nodes: Tensor) -> Tensor:
        """Steps but the last: each changes the speed by at most 0.1 m/s and the position by at most 0.16 m."""
        x, v = nodes.T.abs()
        return (torch.maximum((v - self.near) / 0.1, (x - self.near) / 0.16) - 1).clamp(min=0)


@pytest.mark.parametrize("planner", [Dijkstra, AStar])
def test_the_double_integrator_in_least_time(planner: Any) -> None:
    """Bang-bang control from x = 1 m at rest takes 2 s (Pontryagin).

    The goal's tolerance saves at most the time to cross it; the cells add at most as many steps as they are wide.
    """
    problem = Integrator()
    params = GraphParams(cells=(101, 61), bound=1.5, most_reward=0.0)
    plan, route = planned(planner(params), problem, 4000)
    assert route.goal
    steps = len(route.edges)
    assert steps * problem.dt == pytest.approx(2.0, abs=0.25)
    speed = problem.dt * np.cumsum(plan.actions[:steps, 0].numpy())
    assert speed.min() == pytest.approx(-1.0, abs=0.15), "to the middle with full force, from there against it"
    values = ValueIteration(ValueIterationParams(cells=(101, 61), bound=1.5, discount=1.0, sweeps=80))
    swept, _ = values.plan(values.start(0), problem, Budget(evaluations=1000))
    assert swept.cost == pytest.approx(plan.cost, abs=3.0), "in steps of 0.1 s"


# --- value iteration -----------------------------------------------------------------------------------------


@dataclass
class Ring(World):
    """Random costs and jumps between n points on a ring; some edges break a rule."""

    action_size: int = 1
    start: tuple[float, ...] = (0.0,)
    target: np.ndarray = field(default_factory=lambda: np.zeros((8, 3)))  # (n,E), in places, not whole
    price: np.ndarray = field(default_factory=lambda: np.zeros((8, 3)))
    safe: np.ndarray = field(default_factory=lambda: np.ones((8, 3), bool))

    def space(self) -> Space:
        return Space(("place",), np.zeros(1), np.array([float(len(self.target))]), np.ones(1, bool))

    def move(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:  # type: ignore[override]
        place = np.rint(nodes[:, 0]).astype(int) % len(self.target)
        edge = np.rint(actions[:, 0] + 1).astype(int)
        after = self.target[place, edge][:, None] % len(self.target)
        margin = np.where(self.safe[place, edge], 1.0, -1.0)
        return after, self.price[place, edge], margin, np.zeros(len(place), bool)


def ring(seed: int, unsafe: float = 0.45) -> Ring:
    rng = np.random.default_rng(seed)
    return Ring(
        target=rng.uniform(0, 8, (8, 3)), price=rng.normal(size=(8, 3)), safe=rng.random((8, 3)) >= unsafe, horizon=10
    )


def process(problem: Ring) -> tuple[np.ndarray, np.ndarray]:
    """Transition probabilities (n,E,n) and costs (n,E), inf for removed edges, by their definitions."""
    n = len(problem.target)
    chances = np.zeros((n, 3, n))
    for place, edge in np.ndindex(n, 3):
        at = problem.target[place, edge]
        chances[place, edge, int(at) % n] += 1 - at % 1
        chances[place, edge, (int(at) + 1) % n] += at % 1
    alive, edges = np.ones(n, bool), problem.safe.copy()
    away = chances * (1 - np.eye(n))[:, None]
    for _ in range(n + 1):
        edges = problem.safe & (away[:, :, alive].sum(2) >= away[:, :, ~alive].sum(2))
        alive = edges.any(1)
    chances[:, :, ~alive] = 0.0
    return chances / np.maximum(chances.sum(2, keepdims=True), 1e-12), np.where(edges, problem.price, np.inf)


def learnt(problem: Ring, evaluations: int = 1000, **more: Any) -> Values:
    planner = ValueIteration(ValueIterationParams(cells=len(problem.target), **more))
    _, state = planner.plan(planner.start(0), problem, Budget(evaluations=evaluations))
    assert state.memory is not None
    return state.memory


def columns(values: Values, problem: Ring) -> list[int]:
    """The problem's edge of each action."""
    return [int(np.rint(a + 1)) for a in values.table.actions[:, 0]]


@pytest.mark.parametrize("seed", range(12))
def test_values_are_those_of_the_linear_programme(seed: int) -> None:
    """The linear programme: the greatest V with V <= c + g P V (Puterman, "Markov Decision Processes", section 6.9)."""
    problem = ring(seed)
    values = learnt(problem, discount=0.9, tolerance=1e-12, sweeps=5000)
    chances, cost = process(problem)
    alive = np.isfinite(cost.min(1))
    assert_array_equal(values.alive, alive)
    if not alive.any():
        return
    index = np.argwhere(np.isfinite(cost))
    rows = np.array([np.eye(8)[place] - 0.9 * chances[place, edge] for place, edge in index])
    bound = np.array([cost[place, edge] for place, edge in index])
    answer = linprog(-alive.astype(float), rows, bound, bounds=[(None, None) if a else (0, 0) for a in alive])
    assert answer.success
    assert_allclose(values.value, answer.x, atol=1e-7)


def test_the_seeds_reach_both_cases() -> None:
    kinds = [np.isfinite(process(ring(seed))[1]).any(1) for seed in range(12)]
    assert sum(0 < alive.sum() < 8 for alive in kinds) >= 2, "some places must die out"
    assert sum(alive.all() for alive in kinds) >= 2


@dataclass
class Drift(World):
    """Every action moves on by a part of a cell, and finally beyond a wall."""

    action_size: int = 1
    start: tuple[float, ...] = (0.0,)
    by: float = 0.4

    def space(self) -> Space:
        return Space(("x",), np.zeros(1), np.array([20.0]), np.zeros(1, bool))

    def move(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:  # type: ignore[override]
        after = nodes + self.by
        return after, np.ones(len(nodes)), np.where(after[:, 0] > 19.7, -1.0, 1.0), np.zeros(len(nodes), bool)


@pytest.mark.parametrize("by", [0.05, 0.4, 0.6, 1.0, 2.5])
def test_slow_doom_is_doom(by: float) -> None:
    problem = Drift(by=by)
    planner = ValueIteration(ValueIterationParams(cells=21))
    _, state = planner.plan(planner.start(0), problem, Budget(evaluations=1000))
    assert state.memory is not None
    assert not state.memory.alive.any()
    still = Drift(by=0.0)
    _, state = planner.plan(planner.start(0), still, Budget(evaluations=1000))
    assert state.memory is not None
    assert state.memory.alive.tolist() == [True] * 20 + [False], "who stands still stays where it is"


def test_of_all_doomed_ways_the_least_is_taken() -> None:
    """Among doomed edges, the one with less interpolation weight on doomed cells wins, whatever it costs."""
    problem = ring(3, unsafe=0.1)
    known = learnt(problem)
    planner = ValueIteration(ValueIterationParams(cells=8))
    alive = np.array([True] * 4 + [False] * 4)
    ahead = planner._ahead(problem, replace(known, alive=alive))
    doubt, _ = ahead(torch.tensor([[2.0], [3.4], [3.6], [3.9], [5.0]], dtype=torch.float64))
    assert_allclose(doubt, [0.0, 0.0, 0.6, 0.9, 1.0])


@pytest.mark.parametrize("sweeps", [1, 2, 7])
def test_sweeps_are_backward_induction(sweeps: int) -> None:
    problem = ring(3, unsafe=0.1)
    values = learnt(problem, discount=1.0, sweeps=sweeps, tolerance=0.0)
    chances, cost = process(problem)
    expected = np.zeros(8)
    for _ in range(sweeps):
        best = np.full(8, np.inf)
        for place, edge in np.argwhere(np.isfinite(cost)):
            best[place] = min(best[place], cost[place, edge] + chances[place, edge] @ expected)
        expected = np.where(np.isfinite(best), best, 0.0)
    assert values.sweeps == sweeps
    assert_allclose(values.value, expected, atol=1e-12)


def test_a_table_grows_over_plans_and_is_kept() -> None:
    problem = wall_with_a_gap(8)
    planner = ValueIteration(ValueIterationParams(cells=(9, 9), discount=1.0, sweeps=60, batch=4))
    state, known = planner.start(0), []
    plan = None
    for _ in range(20):
        before = problem.stepped
        plan, state = planner.plan(state, problem, Budget(evaluations=14))
        assert plan.statistics.evaluations <= 14
        assert problem.stepped - before <= 14 * problem.horizon
        assert plan.feasible
        assert state.memory is not None
        known.append(len(state.memory.table.cost))
    assert known == sorted(known)
    assert 0 < known[0] < 81
    assert known[-1] == 81
    assert state.memory is not None
    assert state.memory.settled
    assert plan is not None
    assert plan.cost == problem.optimum()
    _, again = planner.plan(state, problem, Budget(evaluations=14))
    assert again.memory is state.memory, "nothing is left to be learnt"

    class Other(GuidedMaze):
        pass

    other = Other(toll=problem.toll, wall=problem.wall, goal=problem.goal)
    _, fresh = planner.plan(state, other, Budget(evaluations=14))
    assert fresh.memory is not None
    assert 0 < len(fresh.memory.table.cost) < 81, "another problem is learnt anew"


def test_values_are_resumed_where_time_ended() -> None:
    problem = ring(3, unsafe=0.1)
    params = ValueIterationParams(cells=8, discount=0.9, tolerance=1e-10)
    whole = learnt(problem, discount=0.9, tolerance=1e-10)
    unsolved = Values(whole.table, whole.alive, whole.edges, np.zeros(8))
    turns = iter([False, False, True])
    part = solved(unsolved, params, lambda: next(turns))
    assert (part.sweeps, part.settled) == (2, False)
    assert_array_equal(solved(part, params).value, whole.value)


def test_the_calmest_action_comes_first() -> None:
    assert action_set(3, 2)[0].tolist() == [0, 0]
    assert action_set(2, 3).shape == (8, 3)


# --- what all hold -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planner", [Dijkstra, AStar, ValueIteration])
def test_params_are_checked(planner: Any) -> None:
    params = planner.Params()
    numbers = [one.name for one in fields(params) if isinstance(getattr(params, one.name), (int, float))]
    assert len(numbers) >= 7
    for name in numbers:
        for bad in (-1, np.nan):
            with pytest.raises(ValueError, match=rf"{type(params).__name__}\.{name}: .* allowed"):
                replace(params, **{name: bad})
    for name, bad in (("cells", (3, 0)), ("cells", ()), ("bound", (1.0, np.inf))):
        with pytest.raises(ValueError, match=name):
            replace(params, **{name: bad})


@pytest.mark.parametrize("planner", [Dijkstra, AStar, ValueIteration])
def test_a_problem_without_coordinates_is_refused(planner: Any) -> None:
    class Plain:
        horizon, action_size, dt = 5, 1, 0.1
        proposals: Mapping[str, Tensor] = {}

    assert isinstance(Maze(), Discretisable)
    made = planner()
    with pytest.raises(ValueError, match="Plain, which is not Discretisable, given"):
        made.plan(made.start(0), Plain(), Budget(evaluations=5))


def test_an_end_stops_the_bill() -> None:
    """Nothing costs after the end of an episode, so a planner goes there and searches no further."""

    class Pit(Maze):
        def move(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:  # type: ignore[override]
            after, _, margin, _ = super().move(nodes, actions)
            fell = (after == np.array(self.goal)).all(1)
            return after, np.ones(len(after)), margin, fell

    pit = Pit(goal=(2, 2))
    _, route = planned(Dijkstra(FREE), pit)
    assert route.goal
    assert (len(route.edges), route.cost) == (2, 2.0)
    planner = ValueIteration(ValueIterationParams(cells=(4, 4), discount=1.0, sweeps=50))
    plan, state = planner.plan(planner.start(0), pit, Budget(evaluations=100))
    assert isinstance(state.memory, Values)
    assert isinstance(state.memory.table, Transitions)
    assert plan.cost == 2.0
    earning = Dijkstra(replace(FREE, most_reward=1.0))  # an end forgoes what every later step could earn
    _, dear = planned(earning, pit)
    assert dear.cost == 2 * 2.0 + (pit.horizon - 2) * 1.0


@pytest.mark.parametrize("planner", [Dijkstra, AStar])
def test_a_path_is_kept_while_the_world_follows_it(planner: Any) -> None:
    maze = wall_with_a_gap(8)
    made = planner(graph_params((9, 9)))
    plan, state = made.plan(made.start(0), maze, Budget(evaluations=500))
    route = state.memory
    assert route is not None
    end = maze.move(maze.root().numpy(), plan.actions[:1].numpy())[0][0]
    onward, moved = replace(maze, start=tuple(end)), made.advance(state, 1)
    again, after = made.plan(moved, onward, Budget(evaluations=500))
    assert after.memory is route
    assert (again.statistics.source, again.cost) == ("previous", maze.optimum() - 1)
    aside = replace(maze, start=(6.0, 0.0))
    elsewhere, found = made.plan(moved, aside, Budget(evaluations=500))
    assert found.memory is not route
    assert elsewhere.cost == aside.optimum()

    class Other(GuidedMaze):
        pass

    other = Other(toll=maze.toll, wall=maze.wall, goal=maze.goal, start=tuple(end))
    assert made.plan(moved, other, Budget(evaluations=500))[1].memory is not route
