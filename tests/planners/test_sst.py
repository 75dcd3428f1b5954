"""Stable sparse RRT comes close to a known optimum, avoids obstacles, stays sparse, and keeps its budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path
from scipy.spatial.distance import pdist
from torch import Tensor

from agent import build
from agent.config.load import load
from envs.percept import Percept
from planners.capabilities import Discretisable, Measurable, Stepped
from planners.problem import Budget, Evaluation, Limits, Plan
from planners.sst import Sst, SstParams
from planners.tree import Tree
from planners.trees.landmarks import Landmarks
from tests.planners.conftest import Clock

ONE = Limits(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
SPEED = 0.05  # m per control step at full action, on each axis
GOAL = (0.9, 0.1)


@dataclass
class Room:
    """A point in the unit square that starts at (0.1,0.1). A node is (x, y, ended).

    A step costs `price`, or 1 less if it ends within 5 cm of the goal. A wall in the middle up to y = 0.8 is a
    guardrail.
    """

    wall: bool = True
    price: float = 1.0
    ends: bool = False  # whether the episode ends at the goal
    horizon: int = 40
    action_size: int = 2
    dt: float = 0.1
    stepped: int = 0

    @property
    def proposals(self) -> Mapping[str, Tensor]:
        return {"fallback": torch.zeros(self.horizon, 2, dtype=torch.float64)}

    def root(self) -> Tensor:
        return torch.tensor([[0.1, 0.1, 0.0]], dtype=torch.float64)

    def embedding(self, nodes: Tensor, seconds: float) -> Tensor:
        assert seconds > 0
        return nodes[:, :2]

    def margin(self, at: np.ndarray) -> np.ndarray:
        inside = np.minimum(at, 1 - at).min(1)
        return np.minimum(inside, np.maximum(np.abs(at[:, 0] - 0.5) - 0.05, at[:, 1] - 0.8)) if self.wall else inside

    def arrived(self, at: np.ndarray) -> np.ndarray:
        return np.hypot(*(at - GOAL).T) <= 0.05 + 1e-9

    def along(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.stepped += actions.shape[0] * actions.shape[1]
        at, over, costs, worst = nodes[:, :2], nodes[:, 2] > 0, [], np.full(len(nodes), np.inf)
        for t in range(actions.shape[1]):
            at = at + SPEED * actions[:, t]
            there = self.arrived(at)
            costs.append(np.where(over, 0.0, self.price - there))
            worst = np.minimum(worst, self.margin(at) + 1e-9)
            over = over | (there & self.ends)
        return np.column_stack([at, over]), np.stack(costs, 1), worst[:, None]

    def step(self, nodes: Tensor, actions: Tensor) -> Stepped:
        after, costs, worst = map(torch.from_numpy, self.along(nodes.numpy(), actions.numpy()))
        return Stepped(after, costs.sum(1), worst, after[:, 2] > 0, torch.ones(len(after), dtype=torch.bool), ONE)

    def evaluate(self, actions: Tensor) -> Evaluation:
        nodes = self.root().numpy().repeat(len(actions), 0)
        _, costs, worst = map(torch.from_numpy, self.along(nodes, actions.numpy()))
        zero, valid = torch.zeros(len(actions), dtype=torch.float64), torch.ones(len(actions), dtype=torch.bool)
        return Evaluation(costs, zero, worst, valid, ONE)

    def imagine(self, actions: Tensor) -> None:
        raise NotImplementedError

    def optimum(self) -> int:
        """Steps to the goal without the last, free one: by scipy, with king's moves at full speed.

        No other path is quicker: it is 0.7 m up and 0.65 m down, or without the wall 0.75 m along, at 5 cm per step.
        """
        number = round(1 / SPEED) + 1
        at = np.stack(np.meshgrid(*2 * [np.arange(number) * SPEED], indexing="ij"), -1).reshape(-1, 2)
        near = np.abs(at[:, None] - at).max(2) < 1.5 * SPEED
        free = self.margin(at) >= -1e-9
        graph = csr_matrix(near & free & free[:, None])
        (start,) = np.flatnonzero(np.abs(at - 0.1).max(1) < 1e-9)
        return int(shortest_path(graph, unweighted=True, indices=start)[self.arrived(at)].min()) - 1


@dataclass
class TimedRoom(Room):
    """A room in which a call that simulates takes 2 ms, and everything else takes no time."""

    clock: Clock = field(default_factory=Clock)

    def along(self, nodes: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.clock.now += 0.002
        return super().along(nodes, actions)


def planned(
    problem: Any, evaluations: int = 150, seed: int = 0, **params: Any
) -> tuple[Plan[Any], Tree, Landmarks, SstParams]:
    made = SstParams(**{"radius": 0.05, "reach": 0.1, "hold": 2, "most_reward": 0.0, **params})
    planner = Sst(made)
    plan, state = planner.plan(planner.start(seed), problem, Budget(evaluations=evaluations))
    assert plan.tree is not None
    assert state.memory is not None
    return plan, plan.tree, state.memory, made


def test_the_more_it_may_search_the_nearer_it_comes_to_the_shortest_path() -> None:
    """The remaining gap comes from edges of two whole steps and from directions that were never sampled."""
    assert (Room().optimum(), Room(wall=False).optimum()) == (26, 14)
    costs = {n: np.mean([planned(Room(), n, seed)[0].cost for seed in range(2)]) for n in (100, 250, 1000)}
    assert costs[100] > costs[250] > costs[1000]
    assert 26 <= costs[1000] <= 1.2 * 26
    assert 14 <= planned(Room(wall=False), 250)[0].cost <= 1.2 * 14


def test_what_was_found_in_time_goes_out(clock: Clock) -> None:
    """The tree stops growing early enough to evaluate its path."""
    planner = Sst(SstParams(radius=0.05, reach=0.1, hold=2, most_reward=0.0))
    plan, _ = planner.plan(planner.start(0), TimedRoom(wall=False, clock=clock), Budget(seconds=1.0))
    assert plan.statistics.source == "sample"
    assert plan.cost < 40, "of the fallback"


def test_a_guardrail_takes_edges_away_whatever_they_cost() -> None:
    """The path through the wall is half as long, but no edge continues from one that breaks the guardrail."""
    problem = Room()
    plan, tree, landmarks, _ = planned(problem, 400)
    broken = ~tree.feasible
    assert broken.sum() > 50, "the test needs a temptation"
    assert not np.isin(tree.parent, np.flatnonzero(broken)).any()
    assert plan.feasible
    assert 26 <= plan.cost < 40
    way = 0.1 + SPEED * plan.actions.numpy().cumsum(0)
    assert problem.margin(way).min() >= -1e-9
    assert problem.margin(landmarks.points).min() >= -1e-9
    assert way[:, 1].max() >= 0.8


def test_landmarks_stay_sparse_however_much_is_simulated() -> None:
    few, _, some, params = planned(Room(), 100)
    many, tree, more, _ = planned(Room(), 800)
    assert many.statistics.evaluations > 5 * few.statistics.evaluations
    for landmarks in (some, more):
        assert pdist(landmarks.places).min() >= params.radius
        assert (np.hypot(*(landmarks.places - landmarks.points).T) < params.radius).all()
        assert len(landmarks) < 1.5 / params.radius**2, "discs of half the radius do not overlap"
    assert len(tree.parent) > 10 * len(more)
    assert len(set(more.node)) == len(more)


def test_whoever_represents_a_landmark_was_never_outdone() -> None:
    _, tree, landmarks, _ = planned(Room(), 400)
    assert (landmarks.node[0], landmarks.cost[0]) == (0, 0.0), "the root"
    for node, point, cost in zip(landmarks.node[1:], landmarks.points[1:], landmarks.cost[1:], strict=True):
        actions = np.concatenate([tree.edge(one) for one in tree.path(node)])
        end, costs, worst = Room().along(Room().root().numpy(), actions[None])
        np.testing.assert_allclose(end[0, :2], point, atol=1e-12)
        assert costs.sum() == cost
        assert worst >= 0
    one = Landmarks(0.1, 2)
    assert one.offer(0, np.zeros(2), 2.0)
    assert not one.offer(1, np.array([0.05, 0.0]), 2.0), "a tie goes to the first"
    assert one.offer(2, np.array([0.09, 0.0]), 1.0)
    assert one.offer(3, np.array([0.12, 0.0]), 5.0), "the distance is that to the landmark, which does not move"
    assert (one.node, one.cost.tolist()) == ([2, 3], [1.0, 5.0])
    assert one.near(np.array([[0.1, 0.0], [9.0, 0.0]]), 0.05) == [2, 3], "the cheapest within reach, else the nearest"


def test_the_same_seed_grows_the_same_tree() -> None:
    (one, tree, *_), (again, same, *_), (_, another, *_) = (planned(Room(), 80, seed) for seed in (3, 3, 4))
    assert torch.equal(one.actions, again.actions)
    assert np.array_equal(tree.parent, same.parent)
    assert torch.equal(tree.nodes, same.nodes)
    assert tree.nodes.shape != another.nodes.shape or not torch.equal(tree.nodes, another.nodes)


@pytest.mark.parametrize("hold", [1, 3, 7])
@pytest.mark.parametrize("evaluations", [1, 2, 3, 5, 9, 30])
def test_budgets_hold(evaluations: int, hold: int) -> None:
    problem = Room()
    planner = Sst(SstParams(hold=hold, most_reward=0.0))
    plan, _ = planner.plan(planner.start(0), problem, Budget(evaluations=evaluations))
    assert problem.stepped <= evaluations * problem.horizon
    assert plan.statistics.evaluations <= evaluations
    assert plan.feasible
    if evaluations == 30:
        assert problem.stepped >= 0.4 * evaluations * problem.horizon


def test_time_budgets_are_anytime(clock: Clock) -> None:
    planner = Sst(SstParams(radius=0.05, reach=0.1, hold=2, most_reward=0.0))
    plan, _ = planner.plan(planner.start(0), TimedRoom(clock=clock), Budget(seconds=1e-9))
    assert plan.statistics.source == "fallback"
    plan, _ = planner.plan(planner.start(0), TimedRoom(wall=False, clock=clock), Budget(seconds=0.3))
    assert 0.2 < plan.statistics.seconds < 0.4
    assert plan.tree is not None


def test_rewards_count_above_the_least_cost() -> None:
    """A reward of 1 at the goal is equivalent to a cost of 1 elsewhere."""
    paying, tree, *_ = planned(Room(), 200)
    earning, same, *_ = planned(Room(price=0.0), 200, most_reward=1.0)
    assert torch.equal(paying.actions, earning.actions)
    assert np.array_equal(tree.parent, same.parent)
    assert earning.cost == paying.cost - 40
    with pytest.raises(
        ValueError, match=r"most_reward: 0\.5 given, allowed: at least 1, as there are steps that cost -1"
    ):
        planned(Room(price=0.0, wall=False), 400, most_reward=0.5)


def test_nothing_follows_the_end_of_the_episode() -> None:
    plan, tree, *_ = planned(Room(wall=False, ends=True), 250)
    ended = np.flatnonzero(tree.nodes[:, 2].numpy() > 0)
    assert len(ended) > 3
    assert not np.isin(tree.parent, ended).any()
    assert 14 <= plan.cost <= 1.3 * 14
    dear, *_ = planned(Room(wall=False, ends=True, price=0.0), 250, most_reward=1.0)
    assert dear.cost == -1.0, "an end earns once, and forgoes what later steps could: still no path earns more"


def test_the_tree_is_whole_and_explains_the_plan() -> None:
    plan, tree, *_ = planned(Room(), 400)
    assert (tree.parent[1:] < np.arange(1, len(tree.parent))).all()
    assert tree.visits[0] == len(tree.parent), "an edge each, and the path that was evaluated"
    best = int(np.nanargmax(tree.value[1:])) + 1
    assert plan.statistics.source == "sample"
    assert tree.value[best] == -plan.cost
    end = [node for node in range(len(tree.parent)) if tree.value[node] == -plan.cost][-1]
    actions = np.concatenate([tree.edge(one) for one in tree.path(end)])
    assert np.array_equal(actions, plan.actions.numpy()[: len(actions)])


def test_a_plan_is_taken_up_by_the_next() -> None:
    """The references are in the tree, so a found path is refined and never lost."""
    problem = Room()
    planner = Sst(SstParams(radius=0.05, reach=0.1, hold=2, most_reward=0.0))
    state, costs = planner.start(1), []
    for _ in range(4):
        plan, state = planner.plan(state, problem, Budget(evaluations=200))
        costs.append(plan.cost)
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_a_problem_without_distances_is_refused() -> None:
    class Plain:
        horizon, action_size, dt = 5, 1, 0.1
        proposals: Mapping[str, Tensor] = {}

    assert isinstance(Room(), Measurable)
    assert not isinstance(Room(), Discretisable)
    with pytest.raises(ValueError, match=r"Sst.plan: Plain, which is not Measurable, given"):
        Sst().plan(Sst().start(0), Plain(), Budget(evaluations=5))  # pyright: ignore


@pytest.mark.parametrize("task", ["dm_control/walker-walk-v0", "dm_control/quadruped-walk-v0"])
def test_it_drives_agents_of_many_joints(task: str) -> None:
    """These tasks have too many coordinates for cells, and the quadruped also has a rotation in space."""
    planner = {"planner.kind": "sst", "planner.params": {"hold": 4}, "planner.horizon": 12}
    config = load(task=task, overrides={**planner, "planner.budget": {"evaluations": 24}, "threads": 1, "video": False})
    env = build.environment(config)
    agent = build.agent(config, env.task, env.interface)
    observation, _ = env.reset(seed=0)
    agent.reset(seed=0)
    sources = []
    for _ in range(3):
        decision = agent.act(Percept(observation, env.snapshot()))
        assert np.abs(decision.action).max() <= 1
        observation, *_ = env.step(decision.action)
        plan = decision.plan
        sources.append(plan.statistics.source)
        assert plan.feasible
        assert plan.tree is not None
        assert len(plan.tree.parent) > 20
    env.close()
    assert "sample" in sources
