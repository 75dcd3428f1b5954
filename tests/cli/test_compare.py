"""`telos compare` names every field in which two runs differ, and warns if their numbers are not comparable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.config.config import Config
from agent.config.load import load
from agent.reports.differences import Differing, between
from agent.runs.manifest import Manifest, manifest_of
from agent.runs.rundir import RunDir

CARTPOLE = "dm_control/cartpole-swingup-v0"


@pytest.fixture(scope="module")
def plain() -> Config:
    return load(task=CARTPOLE)


def differing(a: Config, **overrides: Any) -> dict[str, Differing]:
    """The differences between a run and one with these settings, by field."""
    b = load(task=CARTPOLE, overrides=overrides)
    left, right = (RunDir(Path("run"), config, manifest_of(config)) for config in (a, b))
    return {one.field: one for one in between(left, right)}


def test_what_is_compared_is_information(plain: Config) -> None:
    found = differing(plain, **{"planner.kind": "mppi", "cost.effort": 0.25})
    assert str(found["planner.kind"]) == "planner.kind icem → mppi"
    assert str(found["cost.effort"]) == "cost.effort 0.0 → 0.25"
    assert not found["planner.kind"].meaning


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("variant.mass", 1.2, "variant.mass 1.0 → 1.2: the worlds differ"),
        ("variant.latency", 2, "variant.latency 0 → 2: the worlds differ"),
        ("frames", 30, "frames – → 30: episodes of different length"),
        ("perception.kind", "estimated", "perception.kind privileged → estimated: the agents do not see the same"),
        ("planner.budget.evaluations", 7, "searches more than the other"),
        ("threads", 2, "threads – → 2: times do not compare"),
        ("real_time", 1.0, "real_time – → 1.0: the world does not wait alike"),
    ],
)
def test_what_changes_the_meaning_of_the_numbers_is_a_warning(plain: Config, field: str, value: Any, text: str) -> None:
    assert text in str(differing(plain, **{field: value})[field])


def test_guardrails_are_told_by_their_names(plain: Config) -> None:
    rail = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -1, "upper": 1, "unit": "m"}
    a = load(task=CARTPOLE, overrides={"guardrails": [rail]})
    found = differing(a, guardrails=[{**rail, "name": "first"}, {**rail, "upper": 0.5}])
    assert found["guardrails.rail.upper"].a == "1"
    assert found["guardrails.rail.upper"].b == "0.5"
    assert found["guardrails.first.lower"].a == "–"
    assert "the guardrails differ" in found["guardrails_sha256"].meaning


def test_the_physics_of_the_gate(plain: Config) -> None:
    found = differing(plain, **{"world_model.variants": [{"mass": 1.3}]})
    assert "safe stop" in found["rules_sha256"].meaning
    assert found["world_model.variants.0.mass"].b == "1.3"


def test_versions_files_and_code(plain: Config) -> None:
    def run(**fields: Any) -> RunDir:
        made: Manifest = replace(manifest_of(plain), **fields)
        return RunDir(Path("run"), plain, made)

    a = run(commit="a" * 40, versions={"mujoco": "3.1"}, files_sha256={"arm.xml": "b" * 64})
    b = run(commit="c" * 40, versions={"mujoco": "3.2"}, files_sha256={"arm.xml": "d" * 64})
    found = {one.field: str(one) for one in between(a, b)}
    assert found["versions.mujoco"] == "versions.mujoco 3.1 → 3.2: other versions"
    assert "the task's files differ" in found["files_sha256.arm.xml"]
    assert "other code" in found["commit"]


def test_long_values_are_shortened() -> None:
    long = {"signal": "qpos", "target": [float(index) for index in range(2)]}
    a = load(task=CARTPOLE, overrides={"planner.params": {"note": "x" * 100}})
    assert differing(a, **{"cost.residuals": [long]})["planner.params.note"].a == "x" * 39 + "…"


def test_a_run_differs_in_nothing_from_itself(plain: Config) -> None:
    assert not differing(plain)


def test_as_json(telos, finished: Path) -> None:
    done = telos("compare", finished, finished, "--json")
    assert (done.status, done.err) == (0, "")
    found = json.loads(done.out)
    assert (found["a"], found["pairs"], found["warnings"], found["differing"]) == (str(finished), 3, [], [])
    by_name = {one["name"]: one for one in found["differences"]}
    assert by_name["return"]["a"] == by_name["return"]["b"]
    assert by_name["return"]["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 3}


def test_differences_are_printed_and_warnings_come_first(telos, finished: Path, config_file: Path, tmp_path) -> None:
    other = ("--variant.mass=1.1", "--planner.horizon=7", "--episodes=1", "--video=false")
    assert telos("run", config_file, *other, "--out", tmp_path / "other").status == 0
    done = telos("compare", finished, tmp_path / "other")
    said = done.out.splitlines()
    assert said[0] == "warning: variant.mass 1.0 → 1.1: the worlds differ"
    assert "differs: planner.horizon 8 → 7" in said
    found = json.loads(telos("compare", finished, tmp_path / "other", "--json").out)
    assert found["warnings"] == ["variant.mass 1.0 → 1.1: the worlds differ"]
    assert {"field": "planner.horizon", "a": "8", "b": "7", "meaning": ""} in found["differing"]
