"""The quickstart's guardrail matters; benchmark rows survive a kill; tables come from rows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from agent import build, episode
from agent.load import load
from benchmarks import quickstart_twins, returns, rows, scripted, tables, throughput
from benchmarks.unguarded import unguarded_agent

ROOT = Path(__file__).parent.parent.parent
VIOLATED = 2  # an episode whose straight way to the centre leads through a post


def test_the_unguarded_twin_violates_where_the_product_does_not() -> None:
    small = {"planner.budget.evaluations": 96, "frames": 150}
    config = load("quickstart", overrides=small)
    violations, rewards = {}, {}
    for twin, make in (("product", quickstart_twins.build_product), ("unguarded", unguarded_agent)):
        env = build.environment(config)
        result = episode.run(make(config, env), env, build.monitor(config, env), 0, VIOLATED, 150)
        violations[twin] = sum(step.violated for step in result.steps)
        rewards[twin] = result.steps[-1].reward
        env.close()
    assert violations["product"] == 0
    assert violations["unguarded"] > 0
    assert rewards["product"] >= quickstart_twins.SOLVED, "and it still solves the task"


@pytest.mark.slow
def test_twenty_episodes_without_a_violation() -> None:
    found = [quickstart_twins.measure("product", index) for index in range(20)]
    assert sum(row["violation_steps"] for row in found) == 0
    assert all(row["solved"] for row in found)


def test_the_unguarded_agent_exists_in_benchmarks_alone() -> None:
    for package in ("agent", "envs", "planners", "worldmodels", "configs"):
        for file in (ROOT / package).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            names = {getattr(node, "name", "") for node in ast.walk(tree)}
            assert not {name for name in names if "unguarded" in (name or "").lower()}, file


def test_rows_survive_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows.append(file, {"a": 1})
    with file.open("ab") as stream:
        stream.write(b'{"a": 2, "torn')
    assert rows.read(file) == [{"a": 1}]
    rows.append(file, {"a": 3})
    assert rows.read(file) == [{"a": 1}, {"a": 3}]
    assert rows.done(rows.read(file), ("a",)) == {(1,), (3,)}


@pytest.mark.parametrize("script", ["random", "do_nothing"])
def test_scripted_agents_start_where_ours_do(script: scripted.Script) -> None:
    config = load("quickstart")
    env = build.environment(config)
    judge = build.monitor(config, env)
    result = scripted.run(script, env, judge, 0, 0, 5)
    _, seed, _ = episode.start(env, judge, episode.seeds_of(0, 0))
    assert result.reset_seed == seed
    assert result.frames == 5
    env.close()


def test_throughput_rows_are_ratios_of_one_run() -> None:
    row = throughput.measure("dm_control/cartpole-swingup-v0", 8, 10, 3, 1)
    assert row["physics_steps"] == 80
    assert row["imagine_ratio"] > 0
    assert 0 < row["plan_fraction_in_c"] < 1


def test_published_rows_are_quoted_from_the_anchors() -> None:
    assert [returns.published(name) for name in returns.TASKS] == ["850", "656", "994", "964", "993", "825"]


def test_the_readme_shows_what_the_rows_say() -> None:
    assert tables.written(tables.README.read_text(encoding="utf-8")) == tables.README.read_text(encoding="utf-8")
