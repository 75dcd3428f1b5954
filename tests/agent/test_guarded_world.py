"""What an agent does to what it is told, or hands in, reaches neither gate nor monitor nor record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent import build
from agent.composition.judge import Exact
from agent.config.config import Config
from agent.rollouts import episode
from envs.errors import GuardrailTampered, TelosError
from envs.goal import Goal
from envs.guard.world import GuardedWorld
from envs.guardrails.ruleset import Guardrails

REACHER, CARTPOLE = "dm_control/reacher-easy-v0", "dm_control/cartpole-swingup-v0"
AWAY = {"kind": "geom_distance", "name": "away", "geoms": ["finger", "target"], "minimum": 0.02}
RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -0.9, "upper": 0.9, "unit": "m"}
PLANNER = {"horizon": 5, "budget": {"evaluations": 12}, "params": {"knots": 3}}


def made(**more: Any) -> tuple[Any, GuardedWorld]:
    config = Config.model_validate({"task": CARTPOLE, "planner": PLANNER, "threads": 1, **more})
    env = build.environment(config)
    return build.agent(config, env.task, env.interface), build.world(config, env)


def test_an_instruction_that_is_edited_blinds_nobody() -> None:
    _, world = made(task=REACHER, guardrails=[AWAY])
    percept = world.reset(0)
    percept, judged = world.step(np.zeros(2))
    target = world.env.model.geom("target").id
    assert percept.params is not None
    percept.params.model["geom_pos"][target] = [5.0, 5.0, 0.0]
    _, after = world.step(np.zeros(2))
    assert after.margin[0] == pytest.approx(judged.margin[0], abs=1e-2)


def test_without_an_accepted_start_nothing_is_executed() -> None:
    _, world = made(guardrails=[{**RAIL, "lower": 0.0}])
    world.reset(*range(30))
    bad = [seed for seed in range(30) if _starts_left(world, seed)]
    with pytest.raises(TelosError, match="resets in a row into an unsafe state"):
        world.reset(*bad, *bad)
    with pytest.raises(TelosError, match="before reset"):
        world.step(np.zeros(1))
    with pytest.raises(TelosError, match="no seed"):
        world.reset()


def _starts_left(world: GuardedWorld, seed: int) -> bool:
    world.env.reset(seed=seed)
    return not world.monitor.judge_reset(world.env.snapshot())


def test_after_its_end_an_episode_is_over() -> None:
    _, world = made(task="Hopper-v5")
    world.reset(0)
    for _ in range(200):
        if world.step(np.ones(3))[1].terminated:
            break
    with pytest.raises(TelosError, match="after the episode's end"):
        world.step(np.ones(3))


class Two(np.ndarray):
    """Shows one action to the gate and another one to the environment."""

    def copy(self, order: Any = "C") -> Any:
        return np.ones(1)


def test_what_is_executed_is_what_the_gate_has_checked() -> None:
    _, world = made(guardrails=[RAIL])
    world.reset(0)
    assert world.step(np.zeros(1).view(Two))[1].executed.action.tolist() == [0.0]


@pytest.mark.parametrize("action", [[0.0, 0.0], None, "left", np.zeros((1, 1)), np.zeros(0)])
def test_what_is_no_action_is_refused_by_name(action: Any) -> None:
    _, world = made(guardrails=[RAIL])
    world.reset(0)
    with pytest.raises(TelosError, match="action"):
        world.step(action)


def test_the_record_is_what_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, world = made(task="Hopper-v5", guardrails=[], planner={"horizon": 3, "budget": {"evaluations": 6}})
    act, remember = agent.act, agent.remember

    def vandal(percept: Any) -> Any:
        decision = act(percept)
        percept.observation[:] = 77.0
        return decision

    def forger(judged: Any) -> None:
        remember(judged)
        for array in (judged.margin, judged.executed.action):
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 99.0

    monkeypatch.setattr(agent, "act", vandal)
    monkeypatch.setattr(agent, "remember", forger)
    result = episode.run(agent, world, 0, 0, 3)
    assert not (result.observations == 77.0).all(1).any()


def test_a_goal_that_is_edited_is_not_reached() -> None:
    _, world = made()
    percept = world.reset(0)
    goal = Goal(observation=np.full(5, 9.0), within=0.1)
    world.goal = goal
    _, judged = world.step(np.zeros(1))
    assert not judged.reached
    assert goal.observation is not None
    goal.observation[:] = np.concatenate([percept.observation["position"], percept.observation["velocity"]])
    assert not world.step(np.zeros(1))[1].reached


def test_a_judge_that_is_replaced_is_noticed() -> None:
    agent, world = made(guardrails=[RAIL])
    percept = world.reset(0)
    agent.reset(0)
    agent.judge = Exact(Guardrails())
    with pytest.raises(GuardrailTampered):
        agent.act(percept)


def test_a_goal_may_lie_in_a_zone_of_the_configuration() -> None:
    zones = {"spot": {"shape": "sphere", "center": [0.1, 0, 0], "radius": 0.05}}
    goal = "zone_distance/spot/geom_position/pointmass = 0 ± 0.01"
    agent, world = made(task="dm_control/point_mass-easy-v0", zones=zones, goal=goal, guardrails=[])
    agent.reset(0)
    assert not world.step(agent.act(world.reset(0)).action)[1].reached
