"""Goals that a person gives at run time: planned for, judged on the world's state, written into rows and reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from agent import build
from agent.config.config import Config
from agent.config.load import load
from agent.cost.goal import PredicateCost, goal_cost
from agent.runs.rundir import RunDir
from envs.environment import Environment
from envs.errors import TelosError
from envs.goal import Goal, Near, parsed
from envs.guard.reached import GoalCheck
from tests.worldmodels.latent import Latent
from tests.worldmodels.test_latent import agent as latent_agent
from tests.worldmodels.test_latent import weights
from worldmodels.belief import Belief

POINT = "dm_control/point_mass-easy-v0"
LEFT = "joint_position/root_x = -0.1 ± 0.02; joint_position/root_y = 0.05 ± 0.02"


def config(**more: Any) -> Config:
    planner = {"kind": "icem", "horizon": 20, "budget": {"evaluations": 48}}
    return Config.model_validate({"task": POINT, "planner": planner, "threads": 1, "cost": {"task": 0.0}, **more})


def goal(text: str = LEFT) -> Goal:
    return Goal(tuple(Near.model_validate(fields) for fields in parsed(text)))


def led(given: Config, steps: int = 200, change: Callable[..., None] = lambda *_: None) -> tuple[Any, list[Any]]:
    """The world after some steps of an agent, and what was judged."""
    env = build.environment(given)
    agent, world = build.agent(given, env.task, env.interface), build.world(given, env)
    percept, found = world.reset(2), []
    agent.reset(0)
    for step in range(steps):
        change(step, agent, world)
        percept, judged = world.step(agent.act(percept).action)
        agent.remember(judged)
        found.append(judged)
    return world, found


def place(env: Environment) -> np.ndarray:
    return env.snapshot().state[1:3]


def test_an_agent_goes_where_it_is_asked_to() -> None:
    world, found = led(config(goal=LEFT))
    np.testing.assert_allclose(place(world.env), [-0.1, 0.05], atol=0.02)
    assert not found[0].reached
    assert found[-1].reached


def test_the_goal_can_be_changed_on_the_way() -> None:
    """By the world, whose percepts say it, and by the agent's own."""
    right = goal("joint_position/root_x = 0.12 ± 0.02")

    def by_the_world(step: int, agent: Any, world: Any) -> None:
        if step == 60:
            world.goal = right

    def by_the_agent(step: int, agent: Any, world: Any) -> None:
        if step == 60:
            agent.goal = right

    for change in (by_the_world, by_the_agent):
        world, found = led(config(goal=LEFT), 180, change)
        assert place(world.env)[0] == pytest.approx(0.12, abs=0.02)
        assert found[-1].reached == (change is by_the_world), "what counts is what the world was asked for"


def test_a_reached_goal_is_judged_on_the_worlds_state() -> None:
    env = build.environment(config())
    env.reset(seed=0)
    x, y = place(env)
    for text, wanted in (
        (f"joint_position/root_x = {x + 0.01} ± 0.02", True),
        (f"joint_position/root_x = {x + 0.03} ± 0.02", False),
        (f"joint_position/root_x = {x} ± 0.02; joint_position/root_y = {y + 1} ± 0.02", False),
        (f"qpos = {x},{y} +- 0.001", True),
        (f"qpos[1] = {y} +- 0.001", True),
    ):
        check = GoalCheck(env.task, env.interface, goal(text))
        assert check(env.snapshot(), None) == wanted, text
    seen = env.backend.observe()
    whole = np.concatenate([seen["position"], seen["velocity"]])
    assert GoalCheck(env.task, env.interface, Goal(observation=whole, within=1e-9))(env.snapshot(), seen)
    assert not GoalCheck(env.task, env.interface, Goal(observation=whole + 1, within=0.5))(env.snapshot(), seen)


def test_the_cost_is_the_distance_in_units_of_what_is_allowed() -> None:
    given = config()
    env = build.environment(given)
    wanted = goal("joint_position/root_x = 0.0 ± 0.05")
    agent = build.agent(config(goal=wanted.text()), env.task, env.interface)
    cost = goal_cost(wanted, agent.model)
    assert isinstance(cost, PredicateCost)
    env.reset(seed=0)
    start = Belief.at(env.snapshot())
    path = agent.model.imagine(start, torch.zeros(1, 3, 2, dtype=torch.float64))
    x = path.signals.after("joint_position/root_x", 0)
    by_hand = ((x.square() + 0.05**2).sqrt() - 0.05) / 0.05
    torch.testing.assert_close(cost.step_cost(path, start.params), by_hand)


def test_an_observation_is_a_goal_for_a_model_that_encodes_it() -> None:
    agent, world = latent_agent(costs={})
    percept = world.reset(*range(40, 60))
    agent.reset(0)
    agent.goal = Goal(observation=np.array([-0.1, 0.05, 0.0, 0.0]))
    for _ in range(200):
        percept, judged = world.step(agent.act(percept).action)
        agent.remember(judged)
    np.testing.assert_allclose(percept.observation["position"], [-0.1, 0.05], atol=0.02)


def test_what_a_model_cannot_serve_is_refused_when_it_is_given() -> None:
    simulated = build.agent(config())
    with pytest.raises(TelosError, match="goal: given an observation, with a Simulator"):
        simulated.goal = Goal(observation=np.zeros(4))
    with pytest.raises(TelosError, match=r"goal.signal: given 'joint_position/root_y'.*or give the goal before"):
        goal_cost(goal("joint_position/root_y = 0 ± 1"), _without(Latent(weights()[0]), "joint_position/root_y"))


def _without(model: Latent, name: str) -> Latent:
    model.signals = frozenset(request for request in model.signals if request.name != name)
    return model


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("somewhere", "SIGNAL = TARGET ± WITHIN"),
        ("qpos = 0.1", "SIGNAL = TARGET ± WITHIN"),
        ("qpos = 0.1 ± 0", "greater than"),
        ("qpos = nan ± 1", "finite"),
    ],
)
def test_a_goal_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises((TelosError, ValidationError), match=said):
        config(goal=text)


def test_a_signal_that_is_not_there_is_refused_by_name() -> None:
    for text, said in (("joint_position/rootx = 0 ± 1", "rootx"), ("actuator_force/t1 = 0 ± 1", "a force")):
        given = config(goal=text)
        env = build.environment(given)
        with pytest.raises(TelosError, match=said):
            build.world(given, env)


def test_a_goal_is_one_thing() -> None:
    with pytest.raises(TelosError, match="both or neither"):
        Goal()
    with pytest.raises(TelosError, match=r"goal\.weight"):
        Goal(observation=np.zeros(1), weight=0.0)
    assert parsed(goal().text()) == parsed(LEFT)
    fine = "qpos[1] = 0.123456789 ± 1e-07"
    assert parsed(goal(fine).text()) == parsed(fine), "no digit is lost"


def test_rows_and_report_name_the_goal(tmp_path: Path, telos: Callable[..., Any]) -> None:
    out = tmp_path / "run"
    small = ["--frames", 12, "--planner.horizon", 15, "--planner.budget.evaluations", 48, "--video", "none"]
    called = telos("run", "--task", POINT, "--goal", "qpos = 0,0 ± 10", "--out", out, *small)
    assert called.status == 0, called.err
    (row,) = RunDir.open(out).rows()
    assert row.goal == "qpos = 0,0 ± 10"
    assert row.reached == {"first": 1.0, "share": 1.0}
    report = (out / "report.html").read_text()
    assert "Goal reached" in report
    assert "qpos = 0,0 ± 10" in report
    assert load(str(out / "config.yaml")).goal is not None


@pytest.mark.parametrize("text", ["qpos[5] = 0 ± 0.1", "qpos = 0,0,0 ± 0.1"])
def test_a_component_or_a_target_that_does_not_fit_is_refused(text: str) -> None:
    """An empty slice would count as reached, and a longer target would end in torch's own error."""
    given = config(goal=text)
    env = build.environment(given)
    for make in (lambda: build.world(given, env), lambda: build.agent(given, env.task, env.interface)):
        with pytest.raises(TelosError, match=r"goal\.near\[0\]"):
            make()
    world = build.world(config(), env)
    with pytest.raises(TelosError, match=r"goal\.near\[0\]"):
        world.goal = goal(text)


def test_a_goal_may_be_given_as_text_and_a_wrong_one_is_no_traceback() -> None:
    given = config()
    world = build.world(given, build.environment(given))
    world.goal = LEFT  # type: ignore[assignment]
    assert world.goal is not None
    assert world.goal.text() == goal().text()
    with pytest.raises(TelosError, match="TARGET ± WITHIN"):
        world.goal = "somewhere"  # type: ignore[assignment]


def test_a_new_goal_ends_a_plan_that_is_kept() -> None:
    ages: list[int] = []

    def change(step: int, agent: Any, world: Any) -> None:
        ages.append(agent._age)
        if step == 3:
            world.goal = goal("joint_position/root_x = 0.12 ± 0.02")

    planner = {"kind": "icem", "horizon": 20, "budget": {"evaluations": 16}, "replan_every": 10}
    led(config(goal=LEFT, planner=planner), 6, change)
    assert ages == [0, 1, 2, 3, 4, 1], "the percept of step 4 says it"
