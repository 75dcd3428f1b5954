"""The independent monitor scores the real states, whatever the agent believed or whatever happened to it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from agent import build
from agent.agent import Agent
from agent.config.config import Config
from agent.rollouts import episode
from envs import registry
from envs.environment import Environment
from envs.errors import GuardrailTampered, TelosError
from envs.guard.gate import Gate
from envs.guard.monitor import Monitor
from envs.guardrails.registry import build as rules_of
from envs.judged import start
from envs.physics.variants import Variant
from envs.task import Snapshot

CARTPOLE, HOPPER = "dm_control/cartpole-swingup-v0", "dm_control/hopper-stand-v0"
RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -0.05, "upper": 0.05, "unit": "m"}


def config(**more: Any) -> Config:
    return Config.model_validate(
        {
            "task": CARTPOLE,
            "planner": {"kind": "random_shooting", "horizon": 4, "budget": {"evaluations": 8}},
            "guardrails": [RAIL],
            "threads": 1,
            **more,
        }
    )


def push(env: Environment, monitor: Monitor, action: float, steps: int) -> list[Any]:
    judgements = []
    for _ in range(steps):
        before = env.snapshot()
        env.step(np.full(env.interface.action_size, action))
        judgements.append(monitor.judge(before, env.control(), env.snapshot()))
    return judgements


# --- independence -----------------------------------------------------------------------------------------


class Reckless(Agent):
    """Drives into the rail and reports that all is well."""

    def act(self, observation: Any, snapshot: Snapshot | None = None, params: Any = None) -> np.ndarray:
        super().act(observation, snapshot, params)
        assert self.decision is not None
        action = np.ones(1)
        executed = dataclasses.replace(self.decision.executed, action=action)
        self.decision = dataclasses.replace(self.decision, executed=executed)
        return action


@pytest.mark.parametrize("believed", [[], [{**RAIL, "lower": -99.0, "upper": 99.0}]])
def test_an_agent_with_empty_or_lying_guardrails_is_scored_all_the_same(believed: list[dict[str, Any]]) -> None:
    c = config()
    env = build.environment(c)
    honest = build.agent(c, env.task, env.interface)
    lying = rules_of(believed)
    agent = Reckless(
        honest.perception,
        honest.model,
        honest.objective,
        lying,
        honest.actor,
        Gate(env.task, env.interface, lying, None),
        honest.memory,
        honest.configurator,
    )
    monitor = build.monitor(c, env)
    result = episode.run(agent, env, monitor, 0, 0, frames=40)
    positions = np.array([step.state[1] for step in result.steps])
    violated = np.array([step.violated for step in result.steps])
    np.testing.assert_array_equal(violated, np.abs(positions) > 0.05)
    assert violated.any()
    margins = np.array([step.margin[0] for step in result.steps])
    np.testing.assert_allclose(margins, 0.05 - np.abs(positions), atol=1e-12)
    assert monitor.digest != lying.digest


def test_what_the_agent_does_to_its_snapshot_reaches_nobody() -> None:
    class Vandal(Agent):
        def act(self, observation: Any, snapshot: Snapshot | None = None, params: Any = None) -> np.ndarray:
            action = super().act(observation, snapshot, params)
            assert snapshot is not None
            snapshot.state.flags.writeable = True
            snapshot.state[:] = 0.0
            for given in (snapshot.params, params):
                for value in (*given.model.values(), *given.stale.values()):
                    value[:] = 0.0
            return action

    c = config(
        task="dm_control/reacher-easy-v0",
        guardrails=[{"kind": "joint_velocity", "name": "speed", "joint": "wrist", "limit": 50.0}],
    )
    env = build.environment(c)
    modules = build.agent(c, env.task, env.interface)
    agent = Vandal(
        modules.perception,
        modules.model,
        modules.objective,
        modules.guardrails,
        modules.actor,
        modules.gate,
        modules.memory,
        modules.configurator,
    )
    result = episode.run(agent, env, build.monitor(c, env), 0, 0, frames=5)
    assert not any(step.violated for step in result.steps)  # every step could be verified
    assert all(np.isfinite(step.margin).all() for step in result.steps)


def test_the_monitor_owns_its_rules() -> None:
    env = registry.make(CARTPOLE)
    rules = rules_of([RAIL])
    monitor = Monitor(env.task, env.interface, rules)
    object.__setattr__(rules, "_members", ())  # empties the agent's rule set
    env.reset(seed=0)
    judgements = push(env, monitor, 1.0, 30)
    assert any(bool(judgement.violated.any()) for judgement in judgements)


def test_a_monitor_whose_own_rules_were_changed_judges_nothing() -> None:
    env = registry.make(CARTPOLE)
    monitor = Monitor(env.task, env.interface, rules_of([RAIL]))
    env.reset(seed=0)
    push(env, monitor, 0.0, 1)
    lax = rules_of([{**RAIL, "upper": 99.0}])
    object.__setattr__(monitor.guardrails, "_members", lax._members)
    with pytest.raises(GuardrailTampered):
        push(env, monitor, 0.0, 1)
    with pytest.raises(GuardrailTampered):
        monitor.judge_reset(env.snapshot())


@pytest.mark.parametrize("task", [CARTPOLE, "dm_control/reacher-easy-v0", "Pusher-v5"])
def test_what_a_monitor_judges_can_come_from_another_process(task: str) -> None:
    env = registry.make(task)
    joint = env.model.joint(0).name
    monitor = Monitor(env.task, env.interface, rules_of([{**RAIL, "joint": joint, "lower": -9.0, "upper": 9.0}]))
    env.reset(seed=0)
    before = env.snapshot()
    env.step(np.zeros(env.interface.action_size))
    for travel in (copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))):
        arrived = travel(before)
        assert arrived.params.same_model(before.params)
        assert arrived.params.stale.keys() == before.params.stale.keys()
        with pytest.raises(TypeError):
            arrived.params.model["geom_pos"] = np.zeros(3)
        assert monitor.judge(arrived, env.control(), travel(env.snapshot())).safe


# --- what happens inside a step -----------------------------------------------------------------------------

BOUNCE = """
<mujoco>
  <option timestep="0.002" gravity="0 0 -9.81"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 .1"/>
    <body name="ball" pos="0 0 1"><freejoint/><geom name="ball" size=".1" mass="1" solref="-20000 -2"/></body>
    <body name="pendulum" pos="3 0 2">
      <joint name="swing" axis="0 1 0"/><geom size=".05" pos="0 0 -.3" mass="1" contype="0" conaffinity="0"/>
    </body>
  </worldbody>
  <actuator><motor name="swing" joint="swing" gear=".1" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


@pytest.fixture
def bouncing(tmp_path: Path):
    """A ball that hits the floor and leaves it again inside one control step of 0.1 s."""
    (tmp_path / "bounce.xml").write_text(BOUNCE)
    (tmp_path / "bounce.yaml").write_text(
        "model: bounce.xml\ncontrol_period: 0.1\nframes: 50\nobservation: [qpos, qvel]\n"
        "reward: [{signal: joint_position/swing}]\n"
    )
    env = registry.make(str(tmp_path / "bounce.yaml"))
    yield env
    env.close()


def drop(env: Environment, height: float, speed: float) -> Snapshot:
    env.reset(seed=0)
    data = env.backend.data
    data.qpos[2], data.qvel[2] = height, speed
    mujoco.mj_forward(env.model, data)
    return env.snapshot()


def test_a_contact_inside_a_step_is_seen_though_the_end_is_fine(bouncing: Environment) -> None:
    env = bouncing
    rule = {"kind": "contact_force", "name": "soft", "contact": "ball", "limit": 50.0}
    height = {"kind": "body_height", "name": "up", "body": "ball", "lower": 0.101}
    inside = Monitor(env.task, env.interface, rules_of([rule, {**height, "granularity": "substep"}]))
    ends = Monitor(env.task, env.interface, rules_of([height]))
    before = drop(env, 0.25, -4.0)
    env.step(np.zeros(1))
    after = env.snapshot()
    assert env.backend.data.ncon == 0  # off the floor again
    assert after.state[3] > 0.11
    judged = inside.judge(before, env.control(), after)
    assert judged.verified
    assert dict(zip(inside.guardrails.names, judged.violated.tolist(), strict=True)) == {
        "soft": True,
        "up": True,
    }
    assert ends.judge(before, env.control(), after).safe


def test_free_flight_is_safe_inside_too(bouncing: Environment) -> None:
    env = bouncing
    rule = {"kind": "contact_force", "name": "soft", "contact": "ball", "limit": 50.0}
    monitor = Monitor(env.task, env.interface, rules_of([rule]))
    before = drop(env, 2.0, 0.0)
    env.step(np.zeros(1))
    assert monitor.judge(before, env.control(), env.snapshot()).safe


# --- what cannot be verified ----------------------------------------------------------------------------------


@pytest.mark.parametrize("edit", ["before", "after", "control", "tiny"])
def test_a_step_that_cannot_be_run_again_counts_as_violated(edit: str) -> None:
    env = registry.make(CARTPOLE)
    monitor = Monitor(env.task, env.interface, rules_of([RAIL]))
    env.reset(seed=0)
    before = env.snapshot()
    if edit == "before":
        env.backend.data.qpos[0] += 0.01  # an edit between two steps
    env.step(np.array([0.1]))
    if edit == "after":
        env.backend.data.qpos[0] += 0.01
    if edit == "tiny":
        env.backend.data.qvel[1] = np.nextafter(env.backend.data.qvel[1], np.inf)
    control = env.control() + (0.1 if edit == "control" else 0.0)
    judged = monitor.judge(before, control, env.snapshot())
    assert not judged.verified
    assert not judged.safe
    assert bool(judged.violated.all())
    assert torch.isinf(judged.margin).all()
    honest = push(env, monitor, 0.1, 1)[0]  # the next step is verified again
    assert honest.verified
    assert honest.safe


def test_an_unverified_step_is_a_violation_in_the_episode() -> None:
    c = config()
    env = build.environment(c)
    agent = build.agent(c, env.task, env.interface)

    def interfere(step: Any) -> None:
        if step.index == 2:
            env.backend.data.qvel[0] += 0.01

    result = episode.run(agent, env, build.monitor(c, env), 0, 0, frames=6, watch=interfere)
    assert [step.violated for step in result.steps] == [False, False, False, True, False, False]
    assert result.steps[3].margin[0] == -np.inf


def test_a_diverged_step_counts_as_violated() -> None:
    env = registry.make(CARTPOLE)
    monitor = Monitor(env.task, env.interface, rules_of([RAIL]))
    env.reset(seed=0)
    before = env.snapshot()
    wild = before.state.copy()
    wild[3] = 1e12
    judged = monitor.judge(Snapshot(wild, before.params), np.zeros(1), Snapshot(wild, before.params))
    assert not judged.verified
    assert bool(judged.violated.all())


# --- reality that differs from the model ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variant", [Variant(mass=2.0), Variant(gain=0.5), Variant(damping=3.0), Variant(latency=2), Variant(friction=0.5)]
)
def test_the_real_model_judges(variant: Variant) -> None:
    env = registry.make(CARTPOLE, variant)
    env.reset(seed=0)
    real = Monitor(env.task, env.interface, rules_of([RAIL]), variant)
    judgements = push(env, real, 1.0, 40)
    assert all(judgement.verified for judgement in judgements)
    assert any(not judgement.safe for judgement in judgements)


def test_a_nominal_monitor_would_not_verify_another_reality() -> None:
    variant = Variant(mass=2.0)
    env = registry.make(CARTPOLE, variant)
    env.reset(seed=0)
    nominal = Monitor(env.task, env.interface, rules_of([RAIL]))
    assert not push(env, nominal, 1.0, 1)[0].verified


def test_an_episode_under_a_variant_is_verified_throughout() -> None:
    c = config(
        task=HOPPER,
        variant={"mass": 1.3, "friction": 0.6, "latency": 1},
        guardrails=[{"kind": "body_height", "name": "up", "body": "torso", "lower": -5.0}],
    )
    env = build.environment(c)
    agent = build.agent(c, env.task, env.interface)
    result = episode.run(agent, env, build.monitor(c, env), 0, 0, frames=8)
    assert not any(step.violated for step in result.steps)


# --- resets -------------------------------------------------------------------------------------------------------


def test_unsafe_resets_are_rejected_and_counted() -> None:
    env = registry.make(CARTPOLE)
    # Resets put the cart within about ±0.1 m; this rule allows the right half.
    rule = {**RAIL, "lower": 0.0, "upper": 9.0}
    monitor = Monitor(env.task, env.interface, rules_of([rule]))
    seen = set()
    for index in range(6):
        seeds = episode.seeds_of(0, index)
        observation, accepted, rejected = start(env, monitor, seeds)
        seen.add(rejected)
        assert accepted == seeds[rejected]
        assert observation["position"][0] >= 0
        for seed in seeds[:rejected]:
            env.reset(seed=seed)
            assert env.snapshot().state[1] < 0
    assert len(seen) > 1


def test_a_world_without_a_safe_start_is_refused() -> None:
    env = registry.make(CARTPOLE)
    monitor = Monitor(env.task, env.interface, rules_of([{**RAIL, "lower": 5.0, "upper": 9.0}]))
    with pytest.raises(TelosError, match="100 resets in a row"):
        start(env, monitor, episode.seeds_of(0, 0))


def test_rejected_resets_stand_in_the_result() -> None:
    c = config(guardrails=[{**RAIL, "lower": 0.0, "upper": 9.0}])
    env = build.environment(c)
    agent = build.agent(c, env.task, env.interface)
    rejected = [episode.run(agent, env, build.monitor(c, env), 0, i, frames=1).resets_rejected for i in range(6)]
    starts = [start(env, build.monitor(c, env), episode.seeds_of(0, i))[2] for i in range(6)]
    assert rejected == starts
    assert max(rejected) > 0


def test_a_force_does_not_forbid_a_start_but_a_position_at_a_substep_does() -> None:
    env = registry.make(CARTPOLE)
    env.reset(seed=0)
    force = {"kind": "actuator_force", "name": "f", "actuator": "slide", "limit": 1e-9}
    assert Monitor(env.task, env.interface, rules_of([force])).judge_reset(env.snapshot())
    for granularity in ("step", "substep"):
        rule = {**RAIL, "lower": 5.0, "upper": 9.0, "granularity": granularity}
        assert not Monitor(env.task, env.interface, rules_of([rule])).judge_reset(env.snapshot())


def test_a_rule_on_an_acceleration_does_not_forbid_a_start() -> None:
    """MuJoCo computes the sensor during a step, so there is no value yet after a reset."""
    env = registry.make("dm_control/quadruped-walk-v0")
    zone = {"shape": "box", "center": [0.0, 0.0, 0.0], "half_sizes": [1e-9, 1e-9, 1e-9]}
    rule = {"kind": "keep_in", "name": "calm", "point": "sensor/imu_accel", "zone": zone, "granularity": "substep"}
    monitor = Monitor(env.task, env.interface, rules_of([rule]))
    env.reset(seed=0)
    assert monitor.judge_reset(env.snapshot())
    assert not push(env, monitor, 0.0, 1)[0].safe  # steps are judged


class Lookalike:
    """Looks like a rule set but accepts everything."""

    def __init__(self, rules: Any) -> None:
        self._rules = rules

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._rules, name)

    def __len__(self) -> int:
        return len(self._rules)

    def __iter__(self) -> Any:
        return iter(self._rules)

    def verify(self, expected_digest: str) -> None:
        pass


def test_what_only_looks_like_a_rule_set_is_refused() -> None:
    env = registry.make(CARTPOLE)
    fake: Any = Lookalike(rules_of([RAIL]))
    with pytest.raises(GuardrailTampered, match="Lookalike"):
        Monitor(env.task, env.interface, fake)
    monitor = Monitor(env.task, env.interface, rules_of([RAIL]))
    env.reset(seed=0)
    monitor.guardrails = fake
    with pytest.raises(GuardrailTampered, match="Lookalike"):
        monitor.judge_reset(env.snapshot())
    with pytest.raises(GuardrailTampered, match="Lookalike"):
        push(env, monitor, 0.0, 1)
    with pytest.raises(GuardrailTampered, match="Lookalike"):
        Gate(env.task, env.interface, fake, None)
    gate = Gate(env.task, env.interface, rules_of([RAIL]), None)
    gate.guardrails = fake
    with pytest.raises(GuardrailTampered, match="Lookalike"):
        gate.check(env.snapshot(), np.zeros((1, 1)))


def test_an_agent_and_its_problem_refuse_it_too() -> None:
    c = config()
    env = build.environment(c)
    observation, _ = env.reset(seed=0)
    agent = build.agent(c, env.task, env.interface)
    fake: Any = Lookalike(agent.guardrails)
    modules = (agent.perception, agent.model, agent.objective, fake, agent.actor)
    with pytest.raises(GuardrailTampered, match="Lookalike"):
        Agent(*modules, agent.gate, agent.memory, agent.configurator)
    agent.reset()
    agent.act(observation, env.snapshot())
    assert agent.decision is not None
    problem = agent.decision.problem
    for rules in (fake, rules_of([{**RAIL, "upper": 9.0}])):
        with pytest.raises(GuardrailTampered):
            dataclasses.replace(problem, guardrails=rules)
    agent.guardrails = fake
    with pytest.raises(GuardrailTampered, match="Lookalike"):
        agent.act(observation, env.snapshot())


def test_without_guardrails_nothing_is_judged() -> None:
    env = registry.make(CARTPOLE)
    monitor = Monitor(env.task, env.interface, rules_of([]))
    env.reset(seed=0)
    assert monitor.judge_reset(env.snapshot())
    judged = push(env, monitor, 1.0, 1)[0]
    assert judged.safe
    assert judged.margin.shape == (0,)
