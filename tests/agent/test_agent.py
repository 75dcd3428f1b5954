"""The agent as a library: it works in a user's own loop, is repeatable, and reports the environment's return."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from agent import build
from agent.agent import Agent
from agent.config.config import Config
from agent.rollouts import episode
from envs.environment import Environment
from envs.errors import TelosError
from envs.judged import MAX_RESETS
from envs.percept import instruction
from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Trajectory
from planners import registry as planners
from worldmodels.belief import Belief

CARTPOLE, CHEETAH = "dm_control/cartpole-swingup-v0", "dm_control/cheetah-run-v0"
RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -0.9, "upper": 0.9, "unit": "m"}


def config(**more: Any) -> Config:
    return Config.model_validate(
        {
            "task": CARTPOLE,
            "planner": {"horizon": 8, "budget": {"evaluations": 24}, "params": {"knots": 4}},
            "guardrails": [RAIL],
            "threads": 1,
            **more,
        }
    )


def made(**more: Any) -> tuple[Config, Environment, Agent]:
    c = config(**more)
    env = build.environment(c)
    return c, env, build.agent(c, env.task, env.interface)


def played(c: Config, seed: int = 0, index: int = 0, frames: int = 8) -> episode.EpisodeResult:
    env = build.environment(c)
    agent = build.agent(c, env.task, env.interface)
    return episode.run(agent, env, build.monitor(c, env), seed, index, frames=frames)


# --- in a user's own loop ----------------------------------------------------------------------------------


def test_a_loop_of_ones_own() -> None:
    """Three calls and no monitor, episode or run directory: reset, act, and (if wanted) remember."""
    _, env, agent = made()
    observation, _ = env.reset(seed=1)
    agent.reset(seed=1)
    total = 0.0
    for _ in range(5):
        action = agent.act(observation, env.snapshot())
        assert action.shape == (1,)
        assert np.abs(action).max() <= 1
        observation, reward, *_ = env.step(action)
        agent.remember(-reward, np.zeros(1), env.snapshot().state)
        total += reward
    agent.finish(observation)
    (remembered,) = agent.memory.episodes
    assert len(remembered) == 5
    assert -remembered.costs.sum() == pytest.approx(total)
    assert_array_equal(remembered.states[-1], env.snapshot().state)


def test_remembering_is_not_needed_to_act() -> None:
    _, env, agent = made()
    observation, _ = env.reset(seed=1)
    agent.reset()
    for _ in range(3):
        observation, *_ = env.step(agent.act(observation, env.snapshot()))
    agent.reset()
    assert agent.memory.episodes == []


def test_a_loop_of_ones_own_does_what_an_episode_does() -> None:
    c, env, agent = made()
    result = played(c)
    observation, _ = env.reset(seed=result.seed)
    agent.reset(episode.seeds_of(0, 0)[-1])
    for step in result.steps:
        action = agent.act(observation, env.snapshot())
        assert_array_equal(action, step.action)
        observation, reward, *_ = env.step(action)
        assert reward == step.reward


def test_everything_behind_a_decision_can_be_read() -> None:
    _, env, agent = made()
    observation, _ = env.reset(seed=1)
    agent.reset()
    before = env.snapshot()
    action = agent.act(observation, before)
    decision = agent.decision
    assert decision is not None
    assert_array_equal(decision.executed.action, action)
    assert_array_equal(decision.problem.start.state, before.state)
    assert decision.plan.actions.shape == (8, 1)
    assert set(decision.problem.proposals) == {"fallback"}
    assert 0 < decision.plan_seconds <= decision.seconds
    imagined = decision.problem.imagine(decision.plan.actions[None])
    evaluated = decision.problem.evaluate(decision.plan.actions[None])
    assert float(evaluated.cost[0]) == pytest.approx(decision.plan.cost)
    observation, *_ = env.step(action)
    assert_array_equal(imagined.states[0, 1].numpy(), env.snapshot().state)  # as imagined


def test_a_privileged_agent_needs_the_snapshot() -> None:
    _, env, agent = made()
    observation, _ = env.reset(seed=1)
    agent.reset()
    assert agent.perception.privileged
    with pytest.raises(ValueError, match="no snapshot given"):
        agent.act(observation)


def test_the_action_belongs_to_the_caller() -> None:
    _, env, agent = made()
    observation, _ = env.reset(seed=1)
    agent.reset()
    action = agent.act(observation, env.snapshot())
    assert agent.decision is not None
    planned = agent.decision.plan.actions.clone()
    action[:] = 99.0
    assert torch.equal(agent.decision.plan.actions, planned)


# --- repeatable ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("perception", ["privileged", "estimated"])
@pytest.mark.parametrize("task", [CARTPOLE, CHEETAH])
def test_same_seed_same_episode_bit_for_bit(task: str, perception: str) -> None:
    rules = [RAIL] if task == CARTPOLE else []
    c = config(
        task=task, guardrails=rules, perception={"kind": perception}, variant={"observation_noise": 0.01, "latency": 1}
    )
    one, other = played(c, 3, 1), played(c, 3, 1)
    assert one.seed == other.seed
    for a, b in zip(one.steps, other.steps, strict=True):
        assert a.reward == b.reward
        assert a.plan_cost == b.plan_cost
        assert a.state.tobytes() == b.state.tobytes()
        assert a.action.tobytes() == b.action.tobytes()
        assert a.margin.tobytes() == b.margin.tobytes()
    assert one.physics_steps == other.physics_steps > 0


def test_an_episode_does_not_depend_on_those_before_it() -> None:
    c, env, agent = made()
    monitor = build.monitor(c, env)
    fresh = played(c, 0, 2)
    for index in (0, 1):
        episode.run(agent, env, monitor, 0, index, frames=4)
    later = episode.run(agent, env, monitor, 0, 2, frames=8)
    assert [s.state.tobytes() for s in fresh.steps] == [s.state.tobytes() for s in later.steps]


def test_other_seeds_are_other_episodes() -> None:
    results = [played(config(), seed, index, 3) for seed, index in ((0, 0), (0, 1), (1, 0))]
    assert len({result.seed for result in results}) == 3
    assert len({result.steps[-1].state.tobytes() for result in results}) == 3
    words = {word for seed in range(5) for index in range(5) for word in episode.seeds_of(seed, index)}
    assert len(words) > 0.999 * 25 * (MAX_RESETS + 1)


def test_threads_do_not_change_an_episode() -> None:
    one, two = (played(config(threads=threads)) for threads in (1, 2))
    assert [s.state.tobytes() for s in one.steps] == [s.state.tobytes() for s in two.steps]


def test_global_random_numbers_play_no_part() -> None:
    c = config()
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    one = played(c)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    other = played(c)
    assert [s.state.tobytes() for s in one.steps] == [s.state.tobytes() for s in other.steps]


# --- honest about the return -------------------------------------------------------------------------------------

SHAPED = {"task": 0.3, "effort": 5.0, "residuals": [{"signal": "joint_velocity/hinge_1", "target": 4.0}]}


def test_the_return_is_the_environments_own_whatever_is_minimised() -> None:
    c = config(cost=SHAPED)
    result = played(c, frames=12)
    world = build.environment(c)
    world.reset(seed=result.seed)
    rewards = [world.step(step.action)[1] for step in result.steps]
    assert [step.reward for step in result.steps] == rewards
    assert result.total == sum(rewards)
    assert result.total > 0  # the shaped cost is not the return
    plain = played(config(), frames=12)
    assert [s.plan_cost for s in plain.steps] != [s.plan_cost for s in result.steps]


def test_the_plan_cost_is_the_shaped_one() -> None:
    _, env, agent = made(cost=SHAPED)
    observation, _ = env.reset(seed=1)
    agent.reset()
    agent.act(observation, env.snapshot())
    assert agent.decision is not None
    problem, plan = agent.decision.problem, agent.decision.plan
    imagined = problem.imagine(plan.actions[None])
    reward = env.task.reward(imagined, env.snapshot().params)[0]
    speed = imagined.signals.after("joint_velocity/hinge_1")[0, :, 0]
    by_hand = -0.3 * reward + 0.5 * (speed - 4.0).square() + 5.0 * imagined.actions[0].square().mean(-1)
    assert plan.cost == pytest.approx(float(by_hand.sum()))


# --- memory of an episode ----------------------------------------------------------------------------------------


def test_a_privileged_agent_remembers_the_episode() -> None:
    c, env, agent = made()
    result = episode.run(agent, env, build.monitor(c, env), 0, 0, frames=6)
    (remembered,) = agent.memory.episodes
    assert_array_equal(remembered.states[1:], np.stack([step.state for step in result.steps]))
    assert_array_equal(remembered.actions, np.stack([step.action for step in result.steps]))
    assert_array_equal(remembered.costs, [-step.reward for step in result.steps])
    assert_array_equal(remembered.margins, np.stack([step.margin for step in result.steps]))


def test_an_agent_that_is_not_privileged_remembers_what_it_believed() -> None:
    c, env, agent = made(task=CHEETAH, guardrails=[], perception={"kind": "estimated"})
    result = episode.run(agent, env, build.monitor(c, env), 0, 0, frames=6)
    (remembered,) = agent.memory.episodes
    assert len(remembered) == 6
    assert_array_equal(remembered.costs, [-step.reward for step in result.steps])
    real = np.stack([step.state for step in result.steps])
    model = env.model
    root, rest = 1, slice(2, 1 + model.nq + model.nv)
    assert np.abs(remembered.states[1:, root] - real[:, root]).min() > 1e-3  # no observation shows it
    np.testing.assert_allclose(remembered.states[1:, rest], real[:, rest], atol=1e-4)


def test_a_loop_without_privileges() -> None:
    _, env, agent = made(task="dm_control/reacher-easy-v0", guardrails=[], perception={"kind": "estimated"})
    observation, _ = env.reset(seed=4)
    agent.reset()
    told = instruction(env.snapshot().params)
    for _ in range(3):
        action = agent.act(observation, params=told)
        observation, reward, *_ = env.step(action)
        agent.remember(-reward, np.zeros(0))
    agent.finish(observation, told)
    assert len(agent.memory.episodes[0]) == 3


def test_an_instruction_holds_nothing_of_the_state() -> None:
    _, env, _ = made(task="Pusher-v5", guardrails=[])
    env.reset(seed=0)
    params = env.snapshot().params
    assert params.stale
    told = instruction(params)
    assert not told.stale
    assert told.model.keys() == params.model.keys()
    assert told.attributes.keys() == params.attributes.keys()


def test_the_seed_given_to_reset_counts() -> None:
    _, env, agent = made()
    observation, _ = env.reset(seed=1)
    actions = []
    for seed in (5, 6, 5):
        agent.reset(seed)
        actions.append(float(agent.act(observation, env.snapshot())[0]))
    assert actions[0] == actions[2] != actions[1]


def test_a_critic_and_a_policy_are_wired() -> None:
    """The critic gets its own signals and the model's states; the policy's proposals compete as candidates."""

    class Tail:
        requests = (Request("body_velocity/cart", "state"),)

        def terminal_cost(self, trajectory: Trajectory, params: TaskParams) -> torch.Tensor:
            assert trajectory.states.shape[2] > 0
            return 1e3 * trajectory.signals.after("body_velocity/cart")[:, -1, 0].abs()

    class Policy:
        def propose(self, belief: Belief, horizon: int) -> np.ndarray:
            return np.full((horizon, 1), 0.25)

    c = config()
    env = build.environment(c)
    agent = build.agent(c, env.task, env.interface, critic=Tail(), policy=Policy())
    observation, _ = env.reset(seed=0)
    agent.reset(0)
    agent.act(observation, env.snapshot())
    assert agent.decision is not None
    proposals = agent.decision.problem.proposals
    assert proposals["policy"].tolist() == [[0.25]] * agent.decision.problem.horizon
    evaluation = agent.decision.problem.evaluate(torch.ones(1, agent.decision.problem.horizon, 1).double())
    assert float(evaluation.terminal_cost[0]) > 1.0
    env.close()


def test_it_is_reset_before_it_acts() -> None:
    _, env, agent = made()
    observation, _ = env.reset(seed=0)
    with pytest.raises(TelosError, match="before reset"):
        agent.act(observation, env.snapshot())


# --- whichever planner -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(planners.table()))
def test_every_planner_that_the_simulator_can_serve_drives_an_agent(name: str) -> None:
    planner = {"kind": name, "horizon": 12, "budget": {"evaluations": 40}}
    c = Config.model_validate({"task": "dm_control/pendulum-swingup-v0", "planner": planner, "threads": 1})
    if name == "gradient":
        with pytest.raises(TelosError, match=r"needs a Differentiable problem.*allowed: with this world model"):
            played(c)
        return
    one, other = (played(c, frames=4) for _ in range(2))
    assert [step.action.tolist() for step in one.steps] == [step.action.tolist() for step in other.steps]
    assert one.physics_steps <= 40 * 12 * 4
