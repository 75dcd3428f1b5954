"""Bad input of any kind gives one line on stderr and status 2, and leaves nothing on disk."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent import provenance
from agent.config.load import load
from agent.rollouts.row import TIMES, Row
from agent.runs import rundir
from agent.runs.rundir import RunDir

CARTPOLE = "dm_control/cartpole-swingup-v0"
TWICE = re.compile(r"\b([^\W\d]+):? \1\b", re.IGNORECASE)  # the same word twice in a row
RULE = "{kind: joint_position, name: rail, joint: slider, lower: -1, upper: 1, unit: m, scale: 0.1}"


def refused(done: Any, *texts: str) -> str:
    """Assert status 2 and one line on stderr that contains the texts; returns the line."""
    assert done.status == 2, done
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("telos: ")
    assert "Traceback" not in done.err
    assert not TWICE.search(lines[0]), lines[0]
    assert lines[0].partition("; allowed: ")[2].count(", ") <= 40, "a long list of names is cut"
    for text in texts:
        assert text in lines[0], lines[0]
    return lines[0]


CONFIGS = {
    "unknown key": ("horizon: 3", "horizon", "unknown key"),
    "unknown nested key": ("planner: {horizn: 3}", "planner.horizn", "did you mean 'horizon'"),
    "wrong type": ("seed: [1]", "seed", "integer"),
    "text for a number": ("planner: {horizon: long}", "planner.horizon", "'long'"),
    "horizon 0": ("planner: {horizon: 0}", "planner.horizon", "given 0", "greater than or equal to 1"),
    "no budget": ("planner: {budget: {}}", "planner.budget", "exactly one"),
    "text that looks like a number": ("planner: {horizon: '4'}", "planner.horizon", "'4'"),
    "true for a number": ("cost: {effort: true}", "cost.effort", "True"),
    "one for true": ("video: 1", "video", "boolean"),
    "unknown choice": ("world_model: {solver: Newtn}", "world_model.solver", "did you mean 'Newton'"),
    "too much more search": (
        "configurator: {rules: [{quantity: step, above: 1, budget_factor: 1.0e+12}]}",
        "configurator.rules[0].budget_factor",
        "1000",
    ),
    "two budgets": ("planner: {budget: {evaluations: 3, seconds: 1}}", "planner.budget", "exactly one"),
    "not finite": ("cost: {effort: .nan}", "cost.effort", "nan"),
    "an octal number": ("seed: 010", "config.yaml:2: given 010, which YAML 1.1 reads as 8 (octal)", "8 or 10"),
    "a number of base 60": (
        "guardrails: [{kind: joint_velocity, name: a, joint: slider, unit: m/s, limit: 1:30}]",
        "given 1:30, which YAML 1.1 reads as 90 (base 60); allowed: 90, or quotes for text",
    ),
    "rules lost in a merge": (f"<<: {{guardrails: [{RULE}]}}\nguardrails: []", "guardrails in a merged mapping (<<)"),
    "NUL in a name": (r'zones: {"a\0b": {}}', "U+0000"),
    "half a character in a name": (r'guardrails: [{name: "\ud800"}]', "U+D800"),
    "half a character in a task": (r'task: "\ud800.yaml"', "U+D800"),
    "infinite": ("variant: {mass: .inf}", "variant.mass", "inf"),
    "unknown planner": ("planner: {kind: icme}", "icme", "did you mean 'icem'"),
    "unknown planner parameter": ("planner: {params: {knotz: 3}}", "planner.params: given 'knotz'", "mean 'knots'"),
    "unknown task": ("task: dm_control/cartpol-swingup-v0", "task", f"did you mean '{CARTPOLE}'"),
    "unknown kind of rule": (
        "guardrails: [{kind: keep_put, name: a}]",
        "guardrails[0].kind",
        "did you mean 'keep_out'",
    ),
    "signal the model lacks": (
        "guardrails: [{kind: joint_position, name: a, joint: slidr, lower: 0, upper: 1, scale: 1}]",
        "slidr",
        "did you mean 'slider'",
    ),
    "NaN bound": (
        "guardrails: [{kind: joint_position, name: a, joint: slider, lower: .nan, upper: 1, scale: 1}]",
        "guardrails[0].lower",
        "finite",
    ),
    "limit inside out": (
        "guardrails: [{kind: joint_position, name: a, joint: slider, lower: 1, upper: -1, scale: 1}]",
        "guardrails[0]",
    ),
    "two of one name": (f"guardrails: [{RULE}, {RULE}]", "guardrails[1].name", "'rail'"),
    "rules that are no list": ("guardrails: {a: 1}", "guardrails", "list"),
    "residual on a signal the model lacks": ("cost: {residuals: [{signal: joint_position/x}]}", "joint_position/x"),
    "unknown weight in a rule": (
        "configurator: {rules: [{quantity: step, above: 1, weights: {task2: 1}}]}",
        "configurator.rules[0].weights",
    ),
    "time step that does not divide": ("world_model: {timestep: 0.0037}", "0.0037"),
    "a mass that is none": ("world_model: {variants: [{mass: 0}]}", "world_model.variants[0].mass", "given 0"),
    "what no plan can imagine": (
        "world_model: {variants: [{mass: 1.2}, {latency: 2}]}",
        "world_model.variants[1]",
        "{'latency': 2}",
        "mass, friction, gain and damping",
    ),
    "unknown risk": (
        "risk: {kind: wurst}",
        "risk.kind",
        "did you mean 'worst'",
    ),
    "a share without its measure": (
        "risk: {alpha: 0.3}",
        "risk",
        "alpha with kind: cvar",
    ),
    "a share above one": (
        "risk: {kind: cvar, alpha: 1.5}",
        "risk.alpha",
        "less than or equal to 1",
    ),
    "no share at all": ("risk: {kind: cvar}", "risk", "alpha"),
    "settings of the simulator for another model": (
        "world_model: {kind: mine, timestep: 0.01}",
        "world_model.timestep",
        "unknown key",
    ),
    "a model's own parameters for the simulator": (
        "world_model: {params: {a: 1}}",
        "world_model.params",
        "unknown key",
    ),
    "plans that are kept in real time": (
        "real_time: 1\nplanner: {replan_every: 2}",
        "replan_every 1 in real time",
    ),
    "a sigmoid that never gets to 0": (
        "cost: {residuals: [{signal: qpos, norm: tolerance, lower: 0, margin: 1, sigmoid: gaussian}]}",
        "cost.residuals[0]",
        "value_at_margin 0.0 with sigmoid 'gaussian'",
    ),
    "a width beyond squares": ("cost: {residuals: [{signal: qpos, norm: l2, width: 1.0e+300}]}", "width", "1e+300"),
    "a margin beyond squares": (
        "cost: {residuals: [{signal: qpos, norm: tolerance, lower: 0, margin: 1.0e-300}]}",
        "cost.residuals[0]",
        "margin 1e-300",
    ),
    "a weight in quotes": ("cost: {residuals: [{signal: qpos, weight: '5'}]}", "cost.residuals[0].weight", "'5'"),
    "true for a component": ("cost: {residuals: [{signal: qpos, component: true}]}", "component", "True"),
    "true for knots": ("planner: {params: {knots: true}}", "planner.params.knots: given True"),
    "a parameter in quotes": ("planner: {params: {std: '1.5'}}", "std", "'1.5'"),
    "noise of a colour that has no size": (
        "planner: {kind: icem, params: {beta: 1e3}}",
        "planner.params.beta: given 1000.0; allowed: 0 <= beta <= 20",
    ),
    "landmarks beyond squares": ("planner: {kind: sst, params: {radius: 1e200}}", "radius", "1,000,000"),
    "more children than numbers": ("planner: {kind: mcts, params: {widening: 1e308}}", "widening", "1,000,000"),
    "more actions than can be tried": (
        "task: dm_control/cheetah-run-v0\nplanner: {kind: dijkstra, params: {actions_per_dimension: 100}}",
        "actions_per_dimension",
        "100 with 6 dimensions, 1,000,000,000,000 actions",
    ),
    "a clock that stands still": ("real_time: 1.0e-300", "real_time", "1e-300", "greater than or equal to 0.001"),
    "a clock that nobody could keep": ("real_time: 1.0e+300", "real_time", "1e+300", "less than or equal to 1000"),
    "iterations beyond C": (
        "world_model: {iterations: 100000000000000000000}",
        "world_model.iterations",
        "less than or equal to 1000000",
    ),
    "a rule that never holds": (
        "configurator: {rules: [{quantity: step, above: 1, below: 1}]}",
        "configurator.rules",
        "above 1.0 and below 1.0",
    ),
    "a latency that nobody could keep": ("variant: {latency: 100000000000}", "variant.latency", "1000"),
    "the unit of another actuator": (
        "guardrails: [{kind: actuator_force, name: push, actuator: slide, limit: 50.0}]",
        "guardrail 'push'.unit",
        "'N': joint 'slider' slides",
    ),
    "a space too large for a grid": (
        "task: dm_control/walker-walk-v0\nplanner: {kind: value_iteration}",
        "planner value_iteration",
        "10^27 points in 18 dimensions",
        "sst",
    ),
    "a cost that looks back where plans branch": (
        "planner: {kind: mcts}\ncost: {action_rate: 0.1}",
        "action_rate",
    ),
    "a space without coordinates": ("task: dm_control/quadruped-walk-v0\nplanner: {kind: dijkstra}", "joint 'root'"),
    "unknown joint at rest": (
        "back_up: {seconds: 1.5, rest_speed: 0.1, gain: 5, joints: [slider, slidr]}",
        "slidr",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_config(telos: Callable[..., Any], tmp_path: Path, name: str) -> None:
    text, *texts = CONFIGS[name]
    file = tmp_path / "config.yaml"
    file.write_text(text if text.startswith("task:") else f"task: {CARTPOLE}\n{text}\n")
    refused(telos("run", file, "--out", tmp_path / "run"), *texts)
    assert [item.name for item in tmp_path.iterdir()] == ["config.yaml"]


FILES = {
    "empty": (b"", "empty"),
    "binary": (bytes(range(256)), "not text"),
    "zeros": (b"\0" * 100, "not YAML"),
    "a list": (b"- 1\n- 2\n", "list"),
    "broken": (b"task: [a\nb: {", "not YAML"),
    "deep": (b"[" * 50_000, "not YAML"),
    "python object": (b"task: !!python/object/apply:os.system ['true']", "not YAML"),
}


@pytest.mark.parametrize("name", FILES)
def test_file(telos: Callable[..., Any], tmp_path: Path, name: str) -> None:
    data, text = FILES[name]
    file = tmp_path / "config.yaml"
    file.write_bytes(data)
    refused(telos("run", file, "--out", tmp_path / "run"), "config.yaml", text)
    assert [item.name for item in tmp_path.iterdir()] == ["config.yaml"]


def test_an_empty_directory_is_left_as_it_was(telos: Callable[..., Any], tmp_path: Path) -> None:
    """If the first plan refuses the config, the run's files are removed, but not a directory that existed before."""
    text = f"task: {CARTPOLE}\nplanner: {{kind: mcts}}\ncost: {{action_rate: 0.1}}"
    (tmp_path / "config.yaml").write_text(text)
    out = tmp_path / "mine"
    out.mkdir()
    refused(telos("run", tmp_path / "config.yaml", "--out", out), "action_rate")
    assert out.is_dir()
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ("run {tmp}", ["a directory", "a YAML file"]),
        ("run {tmp}/none.yaml", ["no such file"]),
        ("run {root}/docs/arm/arm.yaml", ["given a task file", "`telos run --task {root}/docs/arm/arm.yaml` runs"]),
        ("run quickstrat", ["did you mean 'quickstart'"]),
        ("run", ["neither a preset nor a task"]),
        ("run default --sead 3", ["--sead", "did you mean '--seed'"]),
        ("run default --seed x", ["seed", "'x'"]),
        ("run default --episodes 0", ["episodes", "greater than or equal to 1"]),
        ("run default --planner icme", ["did you mean 'icem'"]),
        ("run default --planner.horizon", ["--planner.horizon", "VALUE"]),
        ("run default --planner.horizon [", ["YAML"]),
        ("run default --task no/such", ["no/such"]),
        ("run default more", ["more"]),
        ("run default --seed 1 --seed 2", ["--seed twice"]),
        ("explain {tmp} --step 1 --step 2", ["--step twice"]),
        ("run default -x 3", ["-x"]),
        ("resume", ["DIR"]),
        ("resume {tmp}", ["manifest.json"]),
        ("resume {tmp}/none", ["no such directory"]),
        ("resume {tmp} --fast", ["--fast"]),
        ("report {tmp}/none", ["no such directory"]),
        ("compare {tmp} {tmp}", ["manifest.json"]),
        ("explain {tmp}", ["manifest.json"]),
        ("explain {tmp} --step x", ["x"]),
        ("list taks", ["taks"]),
        ("list signals", ["--task"]),
        ("list signals --task cartpole", ["'cartpole'"]),
        ("rum", ["command: given 'rum'; did you mean 'run'?; allowed: "]),
        ("runn", ["did you mean 'run'"]),
        ("--versoin", ["did you mean '--version'"]),
        (
            "run quikstart",
            [
                "preset: given 'quikstart'; did you mean 'quickstart'?; allowed: quickstart, ",
                "in all; `telos list presets`)",
            ],
        ),
        (
            "run --task dm_control/cheeta-run-v0",
            ["did you mean 'dm_control/cheetah-run-v0'?; allowed: dm_control/cheeta"],
        ),
        ("run --task cheetah-run", ["did you mean 'dm_control/cheetah-run-v0'?", "45 in all; `telos list tasks`)"]),
        ("run default --workers x", ["run --workers: given 'x'; allowed: a whole number"]),
        ("run default --seed 010", ["run --seed: given 010", "allowed: 8 or 10"]),
        ("run default --seed=1:30", ["run --seed: given 1:30", "allowed: 90"]),
        (f"run default --planner.params{'.a' * 2000} 1", ["2002 levels; allowed: at most 10"]),
        ("run default --zones.\udcff 1", ["a name in UTF-8"]),
        ("run --task a\udcff.yaml", ["a path that is text in UTF-8"]),
        ("list planer", ["list: given 'planer'; did you mean 'planners'?"]),
        ("list", ["list: given nothing; allowed: tasks, planners"]),
        ("list signals --taks x", ["list: given '--taks'; did you mean '--task'?"]),
        ("bench planers", ["bench: given 'planers'; did you mean 'planners'?; allowed: planners, "]),
        ("compare {tmp}", ["compare: given no B; allowed: what `telos compare --help` shows"]),
    ],
)
def test_arguments(telos: Callable[..., Any], tmp_path: Path, monkeypatch, arguments: str, texts: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"tmp": tmp_path, "root": provenance.ROOT}
    refused(telos(*[word.format(**places) for word in arguments.split()]), *[text.format(**places) for text in texts])
    assert not list(tmp_path.iterdir())


def test_a_start_that_the_rules_forbid_leaves_nothing_behind(telos: Callable[..., Any], tmp_path: Path) -> None:
    rule = "[{kind: joint_position, name: far, joint: slider, lower: 5, unit: m, scale: 0.1}]"
    arguments = ("--task", "dm_control/cartpole-balance-v0", "--guardrails", rule, "--out", tmp_path / "run")
    refused(telos("run", *arguments), "unsafe state")
    assert not list(tmp_path.iterdir())


def test_a_budget_in_seconds_takes_the_place_of_one_in_evaluations() -> None:
    assert load(task=CARTPOLE, overrides={"planner.budget.seconds": 0.05}).planner.budget.seconds == 0.05
    assert load(task=CARTPOLE, overrides={"planner.budget.seconds": 0.05}).planner.budget.evaluations is None


@pytest.mark.parametrize(("episode", "step"), [(3, 0), (-1, 0), (0, 20), (0, -1)])
def test_explain_out_of_range(telos: Callable[..., Any], finished: Path, episode: int, step: int) -> None:
    refused(telos("explain", finished, f"--episode={episode}", f"--step={step}"), "allowed: 0 to")


def test_explain_names_the_episodes_that_have_finished(telos: Callable[..., Any], copy: Path) -> None:
    file = copy / "episodes.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[1])
    refused(telos("explain", copy), "--episode: given 0; allowed: 1")
    assert telos("explain", copy, "--episode=1").status == 0
    file.write_bytes(lines[2] + lines[0])
    refused(telos("explain", copy, "--episode=1"), "--episode: given 1; allowed: 0, 2")
    file.write_bytes(b"")
    refused(telos("explain", copy), "--episode: given 0, none has finished; allowed: a finished episode")


DAMAGE: dict[str, tuple[str, bytes | None, str]] = {
    "manifest is garbage": ("manifest.json", b"{", "not JSON"),
    "manifest is a list": ("manifest.json", b"[]", "list"),
    "manifest of another schema": ("manifest.json", b'{"schema": 99}', "schema"),
    "manifest without keys": ("manifest.json", b'{"schema": 4}', "manifest.json"),
    "manifest of wrong types": ("manifest.json", b"", "guardrails_sha256"),
    "config is missing": ("config.yaml", None, "no such file"),
    "config is empty": ("config.yaml", b"", "empty"),
    "config is binary": ("config.yaml", b"\xff\xfe\x00", "not text"),
}
WORN: dict[str, tuple[str, bytes | None, str]] = {
    "margins of other rules": ("episodes.jsonl", b"", "min_margin"),
    "rows are garbage": ("episodes.jsonl", b"what\n", "episodes.jsonl:1"),
    "rows are binary": ("episodes.jsonl", b"\xff\n", "episodes.jsonl:1"),
    "a row without keys": ("episodes.jsonl", b'{"task": "a"}\n', "episodes.jsonl:1"),
    "a digit has changed": ("episodes.jsonl", b"", "changed since it was written"),
    "steps of unequal length": ("steps/episode-0001.npz", b"", "do not fit together"),
    "steps are missing": ("steps/episode-0001.npz", None, "episode-0001.npz"),
    "steps are garbage": ("steps/episode-0001.npz", b"PK\x03\x04 no", "episode-0001.npz"),
}


def damage(run: Path, name: str) -> str:
    """Damage a run; returns the text that the message must contain."""
    file, data, text = (DAMAGE | WORN)[name]
    if name == "manifest of wrong types":
        (run / file).write_text(json.dumps({**json.loads((run / file).read_text()), "guardrails_sha256": 5}))
    elif name == "margins of other rules":
        first, *rest = (run / file).read_text().splitlines(keepends=True)
        row = Row.parse(first, "row")
        worst = {name.replace("rail", "rial"): value for name, value in row.min_margin.items()}
        (run / file).write_text("".join([replace(row, min_margin=worst).line(), *rest]))
    elif name == "a digit has changed":
        text_there = (run / file).read_text()
        (run / file).write_text(text_there.replace('"interventions": ', '"interventions": 1', 1))
    elif name == "steps of unequal length":
        with np.load(run / file) as arrays:
            np.savez(run / file, **{**arrays, "reward": arrays["reward"][:-1]})
    elif data is None:
        (run / file).unlink()
    else:
        (run / file).write_bytes(data)
    return text


@pytest.mark.parametrize(
    ("command", "name"), [*[("resume", name) for name in DAMAGE], *[("report", name) for name in DAMAGE | WORN]]
)
def test_damaged_run_directory(telos: Callable[..., Any], copy: Path, name: str, command: str) -> None:
    text = damage(copy, name)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    refused(telos(command, copy), text)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", WORN)
def test_resume_runs_again_what_cannot_be_read(
    telos: Callable[..., Any], finished: Path, copy: Path, fast: None, name: str
) -> None:
    damage(copy, name)
    before = (copy / "episodes.jsonl").read_bytes()
    done = telos("resume", copy)
    assert done.status == 0, done.err
    assert "damaged row(s)" in done.err
    assert "Traceback" not in done.err
    assert (copy / "damaged-0.jsonl").read_bytes() == before, "nothing is thrown away"
    assert untimed(copy) == untimed(finished)
    assert telos("resume", copy).status == 0
    assert not (copy / "damaged-1.jsonl").exists(), "it is whole now"


def untimed(run: Path) -> list[dict[str, Any]]:
    """The rows' values without times."""
    rows = [vars(row) for row in RunDir.open(run).rows()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def test_rows_may_stand_in_any_order_but_only_once(telos: Callable[..., Any], finished: Path, copy: Path) -> None:
    file = copy / "episodes.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[1] + lines[2] + lines[0])
    assert untimed(copy) == untimed(finished)
    assert telos("resume", copy).status == 0
    file.write_bytes(lines[1] + lines[1] + lines[0])
    refused(telos("report", copy), "episodes.jsonl:2", "episode 1 a second time")
    done = telos("resume", copy)
    assert done.status == 0
    assert "second time" in done.err
    assert untimed(copy) == untimed(finished)


def test_edited_rules_are_refused(telos: Callable[..., Any], finished: Path, copy: Path) -> None:
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("upper: 1.0", "upper: 2.0"))
    refused(telos("resume", copy), "guardrails")
    for command in (("report", copy), ("explain", copy), ("compare", copy, finished), ("compare", finished, copy)):
        refused(telos(*command), "config.yaml", "other guardrails")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [("horizon: 8", "horizon: 9", "configuration"), ("seed: 0", "seed: 0\nback_up: {b}", "back-up")],
)
def test_resume_refuses_an_edited_config(
    telos: Callable[..., Any], copy: Path, fast: None, old: str, new: str, what: str
) -> None:
    file, rows = copy / "config.yaml", copy / "episodes.jsonl"
    rows.write_bytes(b"")
    text = file.read_text()
    strict = "{seconds: 1.5, rest_speed: 0.1, gain: 5.0, joints: [slider]}"
    file.write_text(text.replace("back_up: null\n", "") if "back_up" in new else text)
    file.write_text(file.read_text().replace(old, new.format(b=strict)))
    refused(telos("resume", copy), str(copy), what, "as it began")
    file.write_text("# a remark changes nothing\n" + text)
    assert telos("resume", copy).status == 0


def test_resume_refuses_an_edited_manifest(telos: Callable[..., Any], copy: Path) -> None:
    file = copy / "manifest.json"
    (copy / "episodes.jsonl").write_bytes(b"")
    manifest = json.loads(file.read_text())
    for name, value in {"privileged": False, "safe_stop": False, "rules_sha256": "0" * 64, "assurance": "L3"}.items():
        file.write_text(json.dumps({**manifest, name: value}))
        refused(telos("resume", copy), "manifest.json")


def test_resume_with_other_versions_only_warns(
    telos: Callable[..., Any], copy: Path, fast: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (copy / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "episodes.jsonl").write_bytes(rows[0])
    versions = {**provenance.versions(), "mujoco": "3.1.4"}
    monkeypatch.setattr(provenance, "versions", lambda: versions)
    monkeypatch.setattr(provenance, "commit", lambda: "f00")
    done = telos("resume", copy)
    assert done.status == 0
    assert "now 3.1.4" in done.err
    assert "f00" in done.err


def test_resume_refuses_another_task_file_or_model(telos: Callable[..., Any], tmp_path: Path, fast: None) -> None:
    for name in ("arm.yaml", "arm.xml"):
        (tmp_path / name).write_bytes((provenance.ROOT / "docs" / "arm" / name).read_bytes())
    out = tmp_path / "run"
    small = ("--frames=2", "--planner.horizon=4", "--planner.budget={evaluations: 6}", "--planner.params={}")
    assert telos("run", "--task", tmp_path / "arm.yaml", *small, "--video=false", "--out", out).status == 0
    for name in ("arm.yaml", "arm.xml"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("0.35", "0.36") if name == "arm.yaml" else text + "<!-- -->\n")
        refused(telos("resume", out), name, "as it began")
        (tmp_path / name).write_text(text)
    assert telos("resume", out).status == 0


def test_out_that_cannot_be_used(telos: Callable[..., Any], config_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo").write_text("mine")
    refused(telos("run", config_file, "--out", tmp_path / "file"), "a file")
    refused(telos("run", config_file, "--out", tmp_path / "file" / "run"), "parents are directories")
    refused(telos("run", config_file, "--out", tmp_path / "full"), "other things")
    refused(telos("run", config_file, "--out", tmp_path / ("n" * 300)), "file name too long")
    refused(telos("run", config_file, "--out", "/proc/run"), "/proc")
    assert (tmp_path / "file").read_text() == "mine"
    assert [item.name for item in (tmp_path / "full").iterdir()] == ["photo"]


@pytest.fixture
def not_root() -> Iterator[None]:
    """Run the test as another user than root, because root may write anywhere."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_read_only_directory(telos: Callable[..., Any], finished: Path, not_root: None) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        file = folder / "config.yaml"
        file.write_text(f"task: {CARTPOLE}\nvideo: false\n")
        folder.chmod(0o555)
        refused(telos("run", file, "--out", folder / "run"), "permission denied", "may write")
        refused(telos("run", finished / "config.yaml", "--out", folder / "run"), "config.yaml")
        refused(telos("resume", finished))
        assert [item.name for item in folder.iterdir()] == ["config.yaml"]
        folder.chmod(0o755)


@pytest.mark.parametrize("moment", [1, 4, 6])
def test_full_disk(
    telos: Callable[..., Any], config_file: Path, finished: Path, tmp_path: Path, fast, monkeypatch, moment: int
) -> None:
    """The n-th sync fails for lack of space: one message, no partial files, and `resume` continues the run."""
    real, calls = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= moment:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(rundir.os, "fsync", fsync)
    out = tmp_path / "run"
    done = telos("run", config_file, "--out", out)
    monkeypatch.setattr(rundir.os, "fsync", real)
    assert done.status == 2
    assert done.err.splitlines()[-1].startswith("telos: ")
    assert "no space left on device" in done.err
    assert "free space" in done.err
    assert not list(tmp_path.rglob(".*.part*"))
    if moment == 1:
        assert not out.exists()
        return
    assert telos("resume", out).status == 0
    assert len((out / "episodes.jsonl").read_text().splitlines()) == 3


def test_a_limit_on_file_sizes(config_file: Path, tmp_path: Path) -> None:
    """The system itself refuses to write files of more than 1,500 bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "agent.command.cli", "run", str(config_file), "--video=false", f"--out={tmp_path}/run"],
        cwd=provenance.ROOT, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "file too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run" / "episodes.jsonl").read_bytes() == b""
    assert not list(tmp_path.rglob(".*.part*"))


def test_links_that_lead_in_a_circle(telos: Callable[..., Any], tmp_path: Path) -> None:
    link = tmp_path / "loop.yaml"
    link.symlink_to(link.name)
    refused(telos("run", link), "no such file")
    refused(telos("run", "--task", link), "a symbolic link that leads to no file")
    refused(telos("run", "default", "--task", link), "a symbolic link that leads to no file")
    refused(telos("list", "signals", "--task", link), "a symbolic link that leads to no file")
    assert "did you mean" not in refused(telos("run", "--task", link)), "it is no match for itself"


@pytest.mark.parametrize("given", ["8", "-8"])
def test_numbers_of_a_task_file_are_read_alike(telos: Callable[..., Any], tmp_path: Path, given: str) -> None:
    (tmp_path / "task.yaml").write_text(f"model: model.xml\nframes: {given.replace('8', '010')}\n")
    refused(telos("run", "--task", tmp_path / "task.yaml"), f"task.yaml:2: given {given.replace('8', '010')}", given)


@pytest.mark.parametrize("given", ["3", "[a]", "[-1]", "[true]", "{}"])
def test_seeds_on_which_a_file_was_chosen_are_a_list(telos: Callable[..., Any], tmp_path: Path, given: str) -> None:
    (tmp_path / "c.yaml").write_text(f"extends: default\ntuned_seeds: {given}\n")
    refused(telos("run", tmp_path / "c.yaml"), "c.yaml: tuned_seeds: given", "a list of the seeds")
