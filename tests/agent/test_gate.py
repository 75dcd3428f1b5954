"""The gate: which actions it refuses, the reasons it gives, and what acts instead."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from agent import build
from agent.agent import Agent
from agent.config.config import Config
from agent.config.load import load
from envs import registry
from envs.backup import BackUp
from envs.environment import Environment
from envs.errors import GuardrailTampered
from envs.guard.gate import Gate
from envs.guard.world import GuardedWorld
from envs.guardrails import Guardrails
from envs.guardrails.registry import build as rules_of
from envs.percept import Percept
from envs.physics.batch import INTEGRATION
from envs.physics.variants import Variant
from envs.task import Snapshot
from worldmodels.simulator.simulator import Simulator

CARTPOLE = "dm_control/cartpole-swingup-v0"
RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -0.9, "upper": 0.9, "unit": "m"}
BACK_UP = {"seconds": 1.5, "rest_speed": 0.3, "gain": 2.0, "joints": ["slider"]}
BRAKE = BackUp(seconds=1.5, rest_speed=0.3, gain=2.0, joints=("slider",))


@pytest.fixture(scope="module")
def env():
    environment = registry.make(CARTPOLE)
    environment.reset(seed=3)
    yield environment
    environment.close()


def at(env: Environment, x: float, v: float, hinge: float = np.pi, spin: float = 0.0) -> Snapshot:
    """The cart at x (m) with speed v (m/s); by default the pole hangs down at rest."""
    start = env.snapshot()
    state = start.state.copy()
    state[1:5] = [x, hinge, v, spin]
    return Snapshot(state, start.params)


def gate(env: Environment, rules: list[dict[str, Any]] | None = None, back_up: BackUp | None = BRAKE) -> Gate:
    return Gate(env.task, env.interface, rules_of([RAIL] if rules is None else rules), back_up)


IDLE = np.zeros((1, 1))


def test_a_safe_prefix_with_a_safe_stop_passes(env: Environment) -> None:
    verdict = gate(env).check(at(env, 0.0, 2.0), IDLE)
    assert verdict.passed
    assert verdict.reason == ""
    assert len(verdict.back_up) > 5  # the stop that was verified, ready to be proposed
    assert np.abs(verdict.back_up).max() <= 1


def test_a_fine_prefix_without_a_stop_in_time_is_refused(env: Environment) -> None:
    start = at(env, 0.5, 4.0)
    without = gate(env, back_up=None).check(start, IDLE)
    assert without.passed  # the prefix itself is fine: x = 0.54
    verdict = gate(env).check(start, IDLE)
    assert not verdict.passed
    assert verdict.reason.startswith("rail at step ")
    assert "of the safe stop: margin -" in verdict.reason


def test_the_refusal_is_right_and_so_is_the_pass(env: Environment) -> None:
    """Run the back-up controller in the real environment, from states that the gate passed and that it refused."""
    g = gate(env)
    seen = {True: 0, False: 0}
    for x in (0.0, 0.5, 0.7):
        for v in (0.5, 1.0, 2.0, 3.0, 4.0, 6.0):
            start = at(env, x, v)
            verdict = g.check(start, IDLE)
            seen[verdict.passed] += 1
            env.reset(seed=3)
            data = env.backend.data
            data.qpos[:], data.qvel[:] = start.state[1:3], start.state[3:5]
            positions = []
            for action in (IDLE[0], *verdict.back_up):
                env.step(action)
                positions.append(float(data.qpos[0]))
            assert (max(np.abs(positions)) <= 0.9) == verdict.passed
            if verdict.passed:
                assert abs(data.qvel[0]) <= BRAKE.rest_speed
    assert min(seen.values()) >= 5


def test_a_prefix_that_violates_is_refused_with_its_step(env: Environment) -> None:
    verdict = gate(env).check(at(env, 0.88, 3.0), IDLE)
    assert not verdict.passed
    assert verdict.reason.startswith("rail at step 1: margin -0.0")
    prefix = np.zeros((4, 1))
    verdict = gate(env, back_up=None).check(at(env, 0.82, 3.0), prefix)
    assert verdict.reason.startswith("rail at step 3: margin -")


def test_a_stop_that_takes_too_long_is_refused(env: Environment) -> None:
    hasty = dataclasses.replace(BRAKE, seconds=0.05)
    verdict = gate(env, back_up=hasty).check(at(env, 0.0, 4.0), IDLE)
    assert not verdict.passed
    assert verdict.reason == "the safe stop does not come to rest in time"


def test_the_stop_is_watched_for_twice_the_declared_time(env: Environment) -> None:
    """This includes starts at rest and early stops, because a falling pole can pull the cart further."""
    for v in (0.0, 0.5):
        verdict = gate(env).check(at(env, 0.0, v), IDLE)
        assert verdict.passed
        assert len(verdict.back_up) == 2 * round(BRAKE.seconds / env.interface.control_period)
    resting = gate(env).check(at(env, 0.899, 0.0, hinge=2.0, spin=-3.0), IDLE)  # at rest, but not for long
    assert not resting.passed
    assert "of the safe stop" in resting.reason


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.0001, -2.0])
@pytest.mark.parametrize("rules", [[RAIL], []])
def test_what_is_no_action_is_refused(env: Environment, bad: float, rules: list[dict[str, Any]]) -> None:
    g = gate(env, rules)
    assert g.check(at(env, 0.0, 0.0), IDLE).passed
    for prefix in (np.array([[bad]]), np.array([[0.0], [bad]])):
        verdict = g.check(at(env, 0.0, 0.0), prefix)
        assert not verdict.passed
        assert verdict.reason == "action not finite or out of range"


@pytest.mark.parametrize("edge", [-1.0, 1.0])
def test_the_range_includes_its_ends(env: Environment, edge: float) -> None:
    assert gate(env).check(at(env, 0.0, 0.0), np.array([[edge]])).passed


def test_a_simulation_that_diverges_is_refused(env: Environment) -> None:
    for state in (at(env, 0.0, 1e12), at(env, np.nan, 0.0)):
        verdict = gate(env).check(state, IDLE)
        assert not verdict.passed
        assert verdict.reason == "the simulation diverged"


def test_the_fallback(env: Environment) -> None:
    g = gate(env)
    np.testing.assert_allclose(g.fallback(at(env, 0.0, 0.2)), [-0.4])
    np.testing.assert_allclose(g.fallback(at(env, 0.0, -9.0)), [1.0])
    np.testing.assert_allclose(gate(env, back_up=None).fallback(at(env, 0.0, 9.0)), [0.0])


def test_targets_reach_the_gate() -> None:
    """The gate judges with the model values that a reset has written."""
    env = registry.make("dm_control/reacher-easy-v0")
    rule = {"kind": "geom_distance", "name": "apart", "geoms": ["finger", "target"], "minimum": 0.001}
    env.reset(seed=0)
    start = env.snapshot()
    g = Gate(env.task, env.interface, rules_of([rule]), None)
    moved = {name: value.copy() for name, value in start.params.model.items()}
    idle = np.zeros((1, 2))
    assert g.check(start, idle).passed
    finger, target = env.model.geom("finger").id, env.model.geom("target").id
    moved["geom_pos"][target] = env.backend.data.geom_xpos[finger]
    assert not g.check(Snapshot(start.state, dataclasses.replace(start.params, model=moved)), idle).passed
    assert g.check(start, idle).passed


def test_what_a_reset_writes_reaches_every_world() -> None:
    """The arm lies folded over the target's place in the XML, but the reset has moved the target."""
    env = registry.make("dm_control/reacher-easy-v0")
    rule = {"kind": "geom_distance", "name": "apart", "geoms": ["finger", "target"], "minimum": 0.001}
    env.reset(seed=0)
    start, blank = env.snapshot(), env.task.spec().compile()
    state = start.state.copy()
    state[1:5] = [0.0, 2.7, 0.0, 0.0]
    finger, target = blank.geom("finger").id, blank.geom("target").id
    data = mujoco.MjData(blank)
    data.qpos[:] = state[1:3]
    mujoco.mj_kinematics(blank, data)
    assert mujoco.mj_geomDistance(blank, data, finger, target, 1.0, None) < 0
    far = {**start.params.model, "geom_pos": start.params.model["geom_pos"].copy()}
    far["geom_pos"][target] = [0.2, 0.2, 0.01]
    away = Snapshot(state, dataclasses.replace(start.params, model=far))
    g = Gate(env.task, env.interface, rules_of([rule]), None, (Variant(mass=1.3),))
    assert g.check(away, np.zeros((1, 2))).passed
    env.close()


# --- other physics ------------------------------------------------------------------------------------

HEAVY, LIGHT = Variant(mass=1.3, gain=0.7), Variant(mass=0.7, gain=1.3)


def test_every_world_that_is_planned_for_has_to_pass(env: Environment) -> None:
    def of(*variants: Variant) -> Gate:
        return Gate(env.task, env.interface, rules_of([RAIL]), BRAKE, variants)

    refused = 0
    for v in np.linspace(0.0, 6.0, 13):
        start = at(env, 0.4, float(v))
        gates = (of(), of(HEAVY), of(LIGHT, HEAVY), of(HEAVY, LIGHT))
        nominal, heavy, *both = (g.check(start, IDLE) for g in gates)
        assert heavy.passed <= nominal.passed
        for verdict in both:  # light is never worse here, so heavy decides, whatever its position
            assert verdict.passed == heavy.passed
            if verdict.passed:
                np.testing.assert_array_equal(verdict.back_up, nominal.back_up)
        if heavy.passed:
            assert [g.steps for g in gates] == [gates[0].steps * worlds for worlds in (1, 2, 3, 3)]
        if nominal.passed and not heavy.passed:
            refused += 1
            assert "of the safe stop: margin -" in heavy.reason
            assert heavy.reason.endswith(" m, under mass 1.3, gain 0.7")
    assert refused > 0


def test_a_stop_in_another_world_is_the_controllers_own_there(env: Environment) -> None:
    """Each world runs the law in closed loop, not the nominal world's actions; checked against the real variant."""
    heavy = registry.make(CARTPOLE, variant=HEAVY)
    heavy.reset(seed=3)
    data, passed = heavy.backend.data, set()
    for v in np.linspace(0.5, 4.0, 8):
        start = at(env, 0.3, float(v))
        verdict = Gate(env.task, env.interface, rules_of([RAIL]), BRAKE, (HEAVY,)).check(start, IDLE)
        heavy.reset(seed=3)
        data.qpos[:], data.qvel[:] = start.state[1:3], start.state[3:5]
        positions, law = [], gate(env)
        for step in range(1 + round(BRAKE.seconds / env.interface.control_period)):
            heavy.step(IDLE[0] if step == 0 else law.fallback(heavy.snapshot()))
            positions.append(float(data.qpos[0]))
        assert (max(np.abs(positions)) <= 0.9 and abs(data.qvel[0]) <= BRAKE.rest_speed) == verdict.passed
        passed.add(verdict.passed)
    heavy.close()
    assert passed == {True, False}


def test_an_agent_that_plans_for_other_physics_has_a_gate_that_knows_them() -> None:
    robust = [{"mass": 1.3, "gain": 0.7}]
    overrides = {"guardrails": [RAIL]}
    env = registry.make(CARTPOLE)
    env.reset(seed=3)
    made = [
        build.gate(load(task=CARTPOLE, overrides={**overrides, **more}), env.task, env.interface)
        for more in ({}, {"world_model.variants": robust})
    ]
    start = next(at(env, 0.4, v) for v in np.linspace(0, 6, 25) if not made[1].check(at(env, 0.4, v), IDLE).passed)
    assert made[0].check(start, IDLE).passed
    env.close()


# --- tampering ----------------------------------------------------------------------------------------


def tamper(rules: Guardrails) -> None:
    """Replace the rules as an attacker inside the process could, bypassing the frozen dataclass."""
    lax = rules_of([{**RAIL, "lower": -99.0, "upper": 99.0}])
    object.__setattr__(rules, "_members", lax._members)


def test_tampered_guardrails_decide_nothing(env: Environment) -> None:
    g = gate(env)
    tamper(g.guardrails)
    with pytest.raises(GuardrailTampered):
        g.check(at(env, 0.0, 0.0), IDLE)


def test_replaced_guardrails_decide_nothing(env: Environment) -> None:
    g = gate(env)
    g.guardrails = rules_of([])
    with pytest.raises(GuardrailTampered):
        g.check(at(env, 0.0, 0.0), IDLE)


# --- inside an agent ----------------------------------------------------------------------------------


def made(**more: Any) -> tuple[GuardedWorld, Agent]:
    config = Config.model_validate(
        {
            "task": CARTPOLE,
            "planner": {"horizon": 6, "budget": {"evaluations": 32}, "params": {"knots": 3}},
            "guardrails": [RAIL],
            "back_up": BACK_UP,
            "threads": 1,
            **more,
        }
    )
    environment = build.environment(config)
    bare = dataclasses.replace(environment.task, back_up=None)  # so that the one in the config applies
    gate = build.gate(config, bare, environment.interface)
    world = GuardedWorld(environment, build.monitor(config, environment), gate, privileged=True)
    world.reset(3)
    agent = build.agent(config, bare, environment.interface)
    agent.reset(0)
    return world, agent


def moved(world: GuardedWorld, x: float, v: float) -> Percept:
    """What the agent perceives after the cart was moved to x with speed v."""
    state = at(world.env, x, v).state
    mujoco.mj_setState(world.env.model, world.env.backend.data, state, INTEGRATION)
    mujoco.mj_forward(world.env.model, world.env.backend.data)
    world.snapshot = world.env.snapshot()
    return world._percept(world.snapshot)


def test_the_fallback_acts_and_the_reason_is_logged() -> None:
    world, agent = made()
    decision = agent.act(moved(world, 0.5, 4.0))  # six steps ahead it is safe, but it can no longer stop
    assert decision.plan.feasible
    _, judged = world.step(decision.action)
    assert judged.executed.intervened
    assert "safe stop" in judged.executed.reason
    np.testing.assert_array_equal(judged.executed.action, [-1.0])


def test_a_plan_that_passes_acts_itself() -> None:
    world, agent = made()
    decision = agent.act(moved(world, 0.0, 0.0))
    _, judged = world.step(decision.action)
    assert not judged.executed.intervened
    assert judged.executed.reason == ""
    np.testing.assert_array_equal(judged.executed.action, decision.plan.actions[0].numpy())


def test_the_verified_stop_is_proposed_at_the_next_decision() -> None:
    world, agent = made()
    world.step(agent.act(moved(world, 0.0, 2.0)).action)
    assert world._verdict is not None
    stop = world._verdict.back_up
    assert world._verdict.passed
    assert len(stop) >= 6
    proposed = agent.act(moved(world, 0.02, 2.0)).problem.proposals["fallback"].numpy()
    np.testing.assert_array_equal(proposed, stop[:6])


def test_a_short_stop_is_held_to_the_horizon_and_a_refused_one_is_not_proposed() -> None:
    planner = {"horizon": 106, "budget": {"evaluations": 32}, "params": {"knots": 3}}
    world, agent = made(planner=planner, back_up={**BACK_UP, "seconds": 0.03, "rest_speed": 1.0})
    world.step(agent.act(moved(world, 0.0, 0.5)).action)
    assert world._verdict is not None
    stop = world._verdict.back_up
    assert len(stop) == 103, "the declared time, and a second of rest"
    decision = agent.act(moved(world, 0.5, 4.0))
    proposed = decision.problem.proposals["fallback"].numpy()
    np.testing.assert_array_equal(proposed[: len(stop)], stop)
    assert (proposed[len(stop) :] == stop[-1]).all()
    world.step(decision.action)
    assert not world._verdict.passed
    here = moved(world, 0.5, 4.0)
    proposed = agent.act(here).problem.proposals["fallback"].numpy()
    assert world.gate is not None
    assert here.snapshot is not None
    np.testing.assert_array_equal(proposed, np.repeat(world.gate.fallback(here.snapshot)[None], 106, 0))


def test_the_task_may_declare_the_back_up() -> None:
    world, _ = made()
    task = dataclasses.replace(world.env.task, back_up=BRAKE)
    config = Config.model_validate({"task": CARTPOLE, "guardrails": [RAIL], "threads": 1})
    assert not build.gate(config, task, world.env.interface).check(at(world.env, 0.5, 4.0), IDLE).passed


def test_an_agent_with_tampered_guardrails_does_not_act() -> None:
    world, agent = made()
    percept, _ = world.step(agent.act(moved(world, 0.0, 0.0)).action)
    tamper(agent.guardrails)
    with pytest.raises(GuardrailTampered):
        agent.act(percept)


def test_copies_of_a_gate_keep_its_rules(env: Environment) -> None:
    rules = gate(env).guardrails
    assert copy.deepcopy(rules).digest == rules.digest
    assert torch.equal(copy.deepcopy(rules).tolerance, rules.tolerance)


def test_the_plan_s_numerics_stay_out_of_the_gate() -> None:
    """Walker's preset doubles the time step and the override adds no-slip passes; both apply only to plans."""
    task_id = "dm_control/walker-walk-v0"
    rule = {"kind": "joint_velocity", "name": "slow", "joint": "right_knee", "limit": 1e3, "scale": 1.0}
    over = {"world_model.noslip_iterations": 3, "guardrails": [rule], "video": False}
    environment = registry.make(task_id)
    environment.reset(seed=0)
    config = load("walker-walk", task=task_id, overrides=over)
    agent = build.agent(config, environment.task, environment.interface)
    gate = build.gate(config, environment.task, environment.interface)
    assert isinstance(agent.model, Simulator)
    option = agent.model.physics.model.opt
    assert (option.timestep, option.noslip_iterations) == (0.005, 3)
    gate.check(environment.snapshot(), np.zeros((1, 6)))
    assert gate.steps == 10, "of 2.5 ms in 25, where the plan has 5"
    assert environment.backend.model.opt.noslip_iterations == 0
    environment.close()
