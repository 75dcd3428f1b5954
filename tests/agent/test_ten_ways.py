"""Ten different ways to drop, relax, relabel or overrule a guardrail: each is refused, or has no effect."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from agent import build
from agent.agent import Agent
from agent.command.arguments import split
from agent.config import resolved
from agent.config.config import Config
from agent.config.load import load
from agent.configurator import Rule, Settings
from agent.rollouts import episode
from envs import registry
from envs.errors import GuardrailTampered, GuardrailWeakened, TelosError
from envs.guard.gate import Gate
from envs.guard.world import GuardedWorld
from envs.guardrails.registry import build as build_guardrails

POST = {
    "kind": "keep_out",
    "name": "post_east",
    "point": "geom_position/pointmass",
    "clearance": 0.01,
    "scale": 0.01,
    "zone": {"shape": "cylinder", "center": [0.12, 0.0, 0.025], "radius": 0.04, "height": 0.05},
}
ARM = Path(__file__).parents[2] / "docs/arm/arm.yaml"
BACK_UP = {"seconds": 1.0, "rest_speed": 0.1, "gain": 1.0}
RELAXED = {"kind": "joint_velocity", "name": "calm_shoulder", "joint": "shoulder", "limit": 99}
SMALL = {"planner.horizon": 20, "planner.budget.evaluations": 24, "frames": 15}


def quickstart(**overrides: Any) -> Config:
    return load("quickstart", overrides={**SMALL, **overrides})


def made(config: Config) -> tuple[Agent, GuardedWorld]:
    env = build.environment(config)
    return build.agent(config, env.task, env.interface), build.world(config, env)


def gate_of(config: Config) -> Gate:
    task = resolved.resolve(config).task
    return build.gate(config, task, task.interface())


@pytest.fixture(scope="module")
def reference() -> Config:
    return quickstart()


def digest(config: Config) -> str:
    return resolved.guardrails(config).digest


def test_1_an_override_that_empties_the_list(reference: Config) -> None:
    with pytest.raises(GuardrailWeakened):
        load("quickstart", overrides={"guardrails": []})


def test_2_a_file_that_extends_the_preset_and_leaves_rules_out(tmp_path: Path, reference: Config) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: quickstart\nguardrails:\n  - " + repr(POST) + "\n")
    assert digest(load(str(file))) == digest(reference), "what a layer does not name still holds"


@pytest.mark.parametrize(
    "change",
    [
        {"clearance": 0.0},
        {"tolerance": 0.02},
        {"scale": 100.0},
        {"zone": {**POST["zone"], "radius": 0.001}},
        {"zone": {**POST["zone"], "center": [9.0, 9.0, 9.0]}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_3_an_override_that_relaxes_one(change: dict[str, Any]) -> None:
    with pytest.raises(GuardrailWeakened):
        load("quickstart", overrides={"guardrails": [{**POST, **change}]})


def test_4_an_override_that_relabels_one() -> None:
    other_point = {**POST, "point": "geom_position/target"}
    other_kind = {"kind": "body_velocity", "name": "post_east", "body": "pointmass", "limit": 1e6}
    for relabelled in (other_point, other_kind):
        with pytest.raises(GuardrailWeakened):
            load("quickstart", overrides={"guardrails": [relabelled]})


def test_5_two_of_one_name_so_that_the_weaker_wins() -> None:
    with pytest.raises(TelosError, match="name"):
        load("quickstart", overrides={"guardrails": [POST, {**POST, "clearance": 0.0}]})


def test_6_an_override_that_disables_or_softens_the_safe_stop(tmp_path: Path) -> None:
    declared = {"seconds": 1.0, "rest_speed": 0.01, "gain": 20.0}
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: quickstart\nback_up: {declared}\n")
    for change in ({"seconds": 100.0}, {"seconds": 0.5}, {"gain": 0.0}, {"rest_speed": 1e9}, {"joints": ["root_x"]}):
        with pytest.raises(GuardrailWeakened):  # weaker than the task's own
            gate_of(quickstart(back_up={**declared, **change}))
        with pytest.raises(GuardrailWeakened):  # weaker than a file's
            load(str(file), overrides={"back_up": change})
    with pytest.raises(GuardrailWeakened):
        load(str(file), overrides={"back_up": None})
    assert gate_of(quickstart(back_up=None)).back_up is not None, "the task's own still holds"


def test_7_no_key_of_the_config_turns_enforcement_off() -> None:
    for key in ("enforce", "guard", "gate", "guardrails_enabled", "planner.guardrails", "cost.guardrails"):
        with pytest.raises(TelosError, match="unknown key"):
            load("quickstart", overrides={key: False})


def test_8_the_configurator_cannot_reach_a_guardrail(reference: Config) -> None:
    names = {field.name for field in dataclasses.fields(Settings)} | {f.name for f in dataclasses.fields(Rule)}
    assert not {name for name in names if "guard" in name or "margin" in name or "back_up" in name}
    with pytest.raises(TelosError):
        load("quickstart", overrides={"configurator": {"rules": [{"quantity": "step", "above": 0, "guardrails": []}]}})
    rules = [{"quantity": "step", "above": -1, "weights": {"post_east": 0.0}}]
    with pytest.raises(TelosError):
        build.agent(quickstart(configurator={"rules": rules}))


def test_9_a_task_weight_however_large_does_not_buy_a_violation() -> None:
    """The forbidden zone covers the target, so only entering it would earn reward."""
    zone = {"shape": "cylinder", "center": [0.0, 0.0, 0.01], "radius": 0.05, "height": 0.2}
    centre = {**POST, "name": "centre", "zone": zone}
    config = quickstart(guardrails=[centre], **{"cost.task": 1e9, "frames": 120, "planner.horizon": 40})
    agent, world = made(config)
    result = episode.run(agent, world, 0, 0, 120)
    assert sum(step.violated for step in result.steps) == 0
    assert min(float(step.margin.min()) for step in result.steps) < 0.03, "it was drawn to the zone's edge"


def test_10_changing_the_agents_own_copy_is_noticed_and_changes_no_judgement(reference: Config) -> None:
    agent, world = made(reference)
    percept = world.reset(*episode.seeds_of(0, 0)[:-1])
    agent.reset(0)
    with pytest.raises((GuardrailTampered, AttributeError)):
        agent.guardrails._members = ()  # type: ignore[misc]
    before = world.monitor.guardrails.digest
    object.__setattr__(agent.guardrails, "_members", ())
    with pytest.raises(GuardrailTampered):
        agent.act(percept)
    assert world.monitor.guardrails.digest == before, "the monitor has a copy of its own"


def test_11_a_tensor_written_in_place_changes_nothing(reference: Config) -> None:
    rules = resolved.guardrails(reference)
    rules.tolerance.fill_(1e9)
    rules.scale.fill_(1e9)
    assert torch.equal(rules.tolerance, torch.zeros(4, dtype=torch.float64))
    assert rules.digest == digest(reference)


def test_12_a_pickle_or_a_copy_with_other_content_is_refused(reference: Config) -> None:
    rules = resolved.guardrails(reference)
    assert pickle.loads(pickle.dumps(rules)).digest == rules.digest
    data = pickle.dumps(rules).replace(b'"clearance":0.01', b'"clearance":0.00')
    assert data != pickle.dumps(rules)
    with pytest.raises(GuardrailTampered):
        pickle.loads(data)
    object.__setattr__(rules, "_members", rules._members[1:])
    with pytest.raises(GuardrailTampered):
        copy.deepcopy(rules)


def test_13_an_actor_that_ignores_the_danger_is_stopped_at_the_gate() -> None:
    """The actor drives at full speed towards a post without a planner; the gate refuses in time."""
    config = quickstart()
    _, world = made(config)
    world.reset(*episode.seeds_of(0, 0)[:-1])
    env, gate, judge = world.env, world.gate, world.monitor
    assert gate is not None
    env.backend.data.qpos[:] = [0.02, 0.0]
    env.backend.data.qvel[:] = 0.0
    east = np.array([[1.0, 0.0]])
    violated = refused = 0
    for _ in range(120):
        before = env.snapshot()
        verdict = gate.check(before, east)
        action = east[0] if verdict.passed else gate.fallback(before)
        refused += not verdict.passed
        env.step(action)
        violated += not judge.judge(before, env.control(), env.snapshot()).safe
    assert refused > 0
    assert violated == 0


def test_what_may_be_done_rules_add_up() -> None:
    more = load("quickstart", overrides={"guardrails": [{**POST, "name": "another"}]})
    assert set(resolved.guardrails(more).names) == {"another", *resolved.guardrails(quickstart()).names}
    tighter = load("quickstart", overrides={"guardrails": [{**POST, "clearance": 0.02}]})
    assert resolved.guardrails(tighter)["post_east"].params["clearance"] == 0.02
    assert build_guardrails([POST]).strengthened(build_guardrails([POST])).digest == build_guardrails([POST]).digest


def arm(path: Path, **changes: Any) -> str:
    """Write a task file like the arm's with changed keys (None removes one); returns its path."""
    content = {**yaml.safe_load(ARM.read_text()), "model": str(ARM.with_suffix(".xml")), **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return str(path)


def test_15_another_task_does_not_shed_the_rules_of_a_task_file(tmp_path: Path) -> None:
    arm(tmp_path / "strict.yaml", back_up=BACK_UP)
    bare = arm(tmp_path / "bare.yaml", guardrails=None)
    mine = tmp_path / "mine.yaml"
    mine.write_text("task: strict.yaml\n")
    held = load(str(mine))
    moved = load(str(mine), task=bare)
    assert moved.task == bare
    assert digest(moved) == digest(held)
    assert set(resolved.guardrails(moved).names) == {"tip_off_sphere", "calm_shoulder"}
    gates = [gate_of(config) for config in (held, moved)]
    assert gates[0].back_up is not None
    assert gates[0].back_up == gates[1].back_up
    with pytest.raises(TelosError, match=r"shoulder|tip"):  # the other model has no such signal
        build.agent(load(str(mine), task="dm_control/pendulum-swingup-v0"))
    with pytest.raises(GuardrailWeakened):  # nor may a layer relax a rule while it changes the task
        load(str(mine), task=bare, overrides={"guardrails": [RELAXED]})


def test_16_another_task_does_not_shed_the_safe_stop(tmp_path: Path) -> None:
    rule = {"kind": "joint_velocity", "name": "slow", "joint": "slider", "limit": 3.0}
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({"task": "dm_control/cartpole-swingup-v0", "guardrails": [rule]}))
    other = "dm_control/pendulum-swingup-v0"
    with pytest.raises(GuardrailWeakened, match="back_up"):
        load(str(mine), task=other)
    assert load(str(mine), task="dm_control/cartpole-balance-v0").guardrails, "that one declares its own"
    assert load(str(mine), task=other, overrides={"back_up": BACK_UP}).back_up is not None
    assert load("default", task=other, overrides={"guardrails": [rule]}).guardrails, "no rule relied on it"


@pytest.mark.parametrize("nothing", ["null", "5", "text"])
@pytest.mark.parametrize("key", ["guardrails", "back_up"])
def test_rules_over_something_that_is_none(tmp_path: Path, key: str, nothing: str) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"task: dm_control/point_mass-easy-v0\n{key}: {nothing}\n")
    over = {key: BACK_UP if key == "back_up" else [POST]}
    if (key, nothing) == ("back_up", "null"):  # every resolved config without a back-up has null here
        assert load(str(mine), overrides=over).back_up is not None
        return
    with pytest.raises(TelosError, match=key):
        load(str(mine), overrides=over)


def test_17_a_rule_given_twice_is_refused_not_lost(tmp_path: Path) -> None:
    for text in ("guardrails: [{a: 1}]\nguardrails: []\n", "guardrails: [{kind: keep_out, name: a, name: b}]\n"):
        file = tmp_path / "mine.yaml"
        file.write_text("extends: quickstart\n" + text)
        with pytest.raises(TelosError, match="a second time"):
            load(str(file))
    more = repr([{**POST, "name": "more"}])
    for words in (
        ["--guardrails", more, "--guardrails", "[]"],
        [f"--guardrails={more}", "--guardrails=[]"],
        ["--planner.kind", "cem", "--planner", "mppi"],
        ["--seed", "1", "--seed", "2"],
        ["--task", "a", "--task=b"],
    ):
        with pytest.raises(TelosError, match="twice"):
            split(["run", "quickstart", *words])
    with pytest.raises(TelosError, match="a second time"):
        split(["run", "--guardrails", "[{kind: keep_out, name: a, name: b}]"])
    with pytest.raises(TelosError, match="twice"):
        split(["explain", "runs/a", "--step", "1", "--step=2"])


FEELS = {"kind": "keep_out", "point": "sensor/center_of_mass", "zone": POST["zone"]}
TOUCHED = {"contact": "right_foot", "limit": 50.0}
WALKER, QUADRUPED = "dm_control/walker-walk-v0", "dm_control/quadruped-walk-v0"


@pytest.mark.parametrize(
    ("task", "rule", "joint"),
    [
        (WALKER, {"kind": "contact_force", **TOUCHED}, "right_knee"),
        (WALKER, {"kind": "strongest_contact", **TOUCHED}, "right_knee"),
        (QUADRUPED, FEELS, "yaw_front_left"),
    ],
)
def test_18_a_planning_model_in_which_nothing_touches_anything(task: str, rule: dict[str, Any], joint: str) -> None:
    """A model's own sensor counts as a touch sensor, because telos does not know what it measures."""
    soft = {**rule, "name": "soft"}
    over = {**SMALL, "guardrails": [soft], "world_model.disable_contacts": True}
    config = load("default", task=task, overrides=over)
    with pytest.raises(TelosError, match="disable_contacts: given true; allowed: false under guardrail 'soft'"):
        build.agent(config)
    lean = {"kind": "joint_velocity", "name": "calm", "joint": joint, "limit": 50.0}
    build.agent(config.model_copy(update={"guardrails": (lean,)}))


def test_a_task_file_is_sought_beside_the_config_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "elsewhere").mkdir()
    arm(tmp_path / "tasks" / "mine.yaml")
    (tmp_path / "base.yaml").write_text("task: tasks/mine.yaml\n")
    (tmp_path / "elsewhere" / "more.yaml").write_text("extends: ../base.yaml\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for config in (tmp_path / "base.yaml", Path("../base.yaml"), Path("more.yaml")):
        assert Path(load(str(config)).task).resolve() == (tmp_path / "tasks" / "mine.yaml").resolve()
    monkeypatch.chdir(tmp_path)
    assert Path(load("default", task="tasks/mine.yaml").task) == Path("tasks/mine.yaml"), "said at the prompt"


def test_21_a_reader_of_the_rules_that_a_task_file_declares_cannot_change_them_for_others() -> None:
    config = load(task=str(ARM))
    task = registry.load(config.task)
    before = resolved.guardrails(config).digest
    for rule in task.guardrails():
        rule["scale"], rule["tolerance"] = 99.0, 99.0  # pyright: ignore[reportIndexIssue]
    assert resolved.rules_over(config, task.guardrails()).digest == before
