"""The quickstart's guardrail matters; benchmark rows survive a kill; tables come from rows."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from agent.command.cli import Bench
from agent.config.config import Config
from agent.config.load import load
from agent.rollouts.jobs import Job, Outcome
from agent.rollouts.parcel import sealed
from agent.rollouts.rollouts import Serial
from agent.rollouts.row import Row
from agent.runs.rundir import RunDir
from benchmarks import returns, tables
from benchmarks.harness import experiment, registry, rows
from benchmarks.players import scripted
from benchmarks.quickstart import twins as quickstart_twins
from benchmarks.systems import faults, parallel, scaling, throughput
from envs.errors import TelosError

ROOT = Path(__file__).parent.parent.parent
VIOLATED = 2  # an episode whose straight path to the centre passes through a post


def played(config: Config, episode: int, player: str) -> Outcome:
    (outcome,) = Serial().run([Job(sealed(config), episode, player)], [].append, lambda: False)
    return outcome


def test_the_unguarded_twin_violates_where_the_product_does_not() -> None:
    config = load("quickstart", overrides={"planner.budget.evaluations": 48, "frames": 150, "video": False})
    twins = {twin: played(config, VIOLATED, player).played for twin, player in quickstart_twins.TWINS.items()}
    assert twins["product"].row.violation_steps == 0
    assert twins["unguarded"].row.violation_steps > 0
    assert twins["product"].row.guardrails_sha256 == twins["unguarded"].row.guardrails_sha256, "one judge for both"
    assert quickstart_twins.solved(twins["product"])["solved"], "and it still solves the task"


@pytest.mark.slow
def test_twenty_episodes_without_a_violation(tmp_path: Path) -> None:
    cases = [case for case in quickstart_twins.cases(20) if case.labels["twin"] == "product"]
    experiment.measure(cases, tmp_path / "rows.jsonl", Serial(), quickstart_twins.solved)
    found = rows.read(tmp_path / "rows.jsonl")
    assert len(found) == 20
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


def test_one_episode_has_no_interval() -> None:
    kept = {"violation_steps": 0, "min_margin": {"post": "-Infinity"}, "solved": True}
    found = {"twin": "product", "return": 366.94, **kept}
    assert quickstart_twins.table([found]).endswith("| -inf | 1 | 366.9 |")


@pytest.mark.parametrize("line", ["3", "null", "[1]", '"a"', "[" * 5_000, '{"a": 1'])
def test_rows_are_objects(tmp_path: Path, line: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"a": 1}}\n\n{line}\n{{"a": 2}}\n')
    with pytest.raises(TelosError, match=r"rows\.jsonl:3: given .*; allowed: "):
        rows.read(file)


@pytest.mark.parametrize(
    ("name", "key"), [("planners", "planner"), ("returns", "task"), ("quickstart_twins", "twin"), ("sac", "task")]
)
def test_rows_of_something_else_are_told(telos: Callable[..., Any], tmp_path: Path, name: str, key: str) -> None:
    file = tmp_path / "rows.jsonl"
    rows.append(file, {"a": 1})
    done = telos("bench", name, "--table", "--out", file)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert f"{file}:1: given a row without {key!r}; allowed: " in done.err
    assert not file.with_suffix(".html").exists()


@pytest.mark.parametrize("player", [scripted.RANDOM, scripted.DO_NOTHING])
def test_scripted_players_start_where_ours_do(small: Callable[..., Config], player: str) -> None:
    config = small(seed=5, frames=6)
    row, ours = played(config, 1, player).played.row, played(config, 1, returns.AGENTS["telos"]).played.row
    assert (row.reset_seed, row.env_frames, row.guardrails_sha256) == (ours.reset_seed, 6, ours.guardrails_sha256)
    assert played(config, 1, player).played.row.return_ == row.return_


def test_an_experiment_goes_on_where_it_stopped(small: Callable[..., Config], tmp_path: Path) -> None:
    out, config = tmp_path / "rows.jsonl", small(frames=3)
    cases = [experiment.Case({"agent": "random", "at": index}, config, scripted.RANDOM, index) for index in range(3)]
    experiment.measure(cases[:2], out, Serial())
    before = out.read_bytes()
    experiment.measure(cases, out, Serial(), lambda played: {"steps": played.row.decisions})
    assert out.read_bytes().startswith(before)
    assert [(row["at"], row["episode"], row.get("steps")) for row in rows.read(out)] == [
        (0, 0, None),
        (1, 1, None),
        (2, 2, 3),
    ]


def test_cases_of_one_configuration_are_played_once_and_have_a_row_each(
    small: Callable[..., Config], tmp_path: Path
) -> None:
    out, config, jobs = tmp_path / "rows.jsonl", small(frames=2), []
    cases = [experiment.Case({"value": name}, config, scripted.RANDOM) for name in ("warm", "beta 1", "30 knots")]

    class Counted(Serial):
        def run(self, todo: Any, *rest: Any) -> Any:
            jobs.extend(todo)
            return super().run(todo, *rest)

    experiment.measure([*cases, cases[1]], out, Counted())
    assert len(jobs) == 1
    assert [row["value"] for row in rows.read(out)] == ["warm", "beta 1", "30 knots"]


def test_rows_of_another_configuration_are_pointed_at(
    small: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.jsonl"
    before, now = (experiment.Case({"agent": "random"}, small(frames=f), scripted.RANDOM) for f in (2, 3))
    experiment.measure([before], out, Serial())
    experiment.measure([before], out, Serial())
    assert "another configuration" not in capsys.readouterr().err
    experiment.measure([now], out, Serial())
    assert len(rows.read(out)) == 1, "it stands, for whoever measured it to judge"
    assert "1 row(s) in" in (said := capsys.readouterr().err)
    assert "another configuration" in said


@pytest.mark.parametrize("name", get_args(get_type_hints(Bench)["name"]))
def test_every_benchmark_has_help(telos: Callable[..., Any], name: str) -> None:
    done = telos("bench", name, "--help")
    assert done.status == 0
    assert f"telos bench {name}" in done.out


def test_the_command_offers_every_registered_benchmark() -> None:
    assert set(get_args(get_type_hints(Bench)["name"])) == set(registry.MODULES)


def test_a_benchmark_that_is_not_there(telos: Callable[..., Any]) -> None:
    assert "returns" in telos("bench", "retruns").err


def test_a_comparison_finds_what_was_lost_doubled_or_changed(small: Callable[..., Config], tmp_path: Path) -> None:
    from agent.command import run

    good = run.run(small(episodes=3, frames=3), tmp_path / "good")
    bad = RunDir.open(shutil.copytree(good.path, tmp_path / "bad"))
    assert faults.compared(bad, good) == {"lost": 0, "duplicated": 0, "differing": 0}
    file = bad.path / "episodes.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[2])
    assert faults.compared(bad, good) == {"lost": 1, "duplicated": 0, "differing": 0}
    file.write_bytes(lines[0] + lines[1] + lines[0])
    assert faults.compared(bad, good) == {"lost": 1, "duplicated": 1, "differing": 0}
    row = Row.parse(lines[1], "row")
    file.write_bytes(lines[0] + Row(**{**vars(row), "reset_seed": 1}).line().encode() + lines[2])
    assert faults.compared(bad, good) == {"lost": 0, "duplicated": 0, "differing": 1}
    once_there = [line.rstrip() for line in lines]
    assert faults.compared(bad, good, once_there)["lost"] == 1, "it is there no more"
    shutil.copy(bad.steps_file(0), bad.steps_file(2))
    assert faults.compared(bad, good) == {"lost": 0, "duplicated": 0, "differing": 2}


def test_a_simulated_driver_obeys_its_bounds() -> None:
    cost = scaling.Costs(service=0.01, tick=0.0, scan=0.0, latency=0.0)
    alone = scaling.simulated(1, 2.0, cost).rate
    assert alone == pytest.approx(1 / (2.0 + 0.01), rel=0.03)
    few, many = scaling.simulated(20, 2.0, cost), scaling.simulated(2_000, 2.0, cost)
    assert few.rate == pytest.approx(20 * alone, rel=0.05)
    assert many.rate == pytest.approx(1 / 0.01, rel=0.02), "it saturates"
    assert many.utilisation == pytest.approx(1, abs=0.01)
    most = scaling.largest(2.0, cost)
    assert scaling.simulated(most, 2.0, cost).efficiency >= scaling.EFFICIENCY
    assert scaling.simulated(2 * most, 2.0, cost).efficiency < scaling.EFFICIENCY
    slow = scaling.Costs(service=0.01, tick=0.0, scan=1e-3, latency=0.0)
    assert scaling.largest(2.0, slow) < most
    assert scaling.largest(2.0, scaling.Costs(0.01, 0.0, 0.0, 1.0)) == 0, "one is too many"


def test_speed_ups_are_ratios_of_the_same_blocks() -> None:
    seconds = {"serial, 1 thread": 20.0, "serial, 2 threads": 12.0, "1 worker": 21.0, "2 workers": 10.0}
    found = [
        {
            "task": "dm_control/walker-walk-v0",
            "arrangement": name,
            "block": block,
            "episodes": 10,
            "frames": 60,
            "evaluations": 9,
            "seconds": value * (1 + block),
            "rows_sha256": "same",
        }
        for block in range(2)
        for name, value in seconds.items()
    ]
    found.append({**found[0], "block": 2})  # an incomplete block does not count
    (line,) = [line for line in parallel.table(found).splitlines() if line.startswith("| walker")]
    assert "| 20 × 60 | 9 | 60.0 | 36.0 | 63.0 | 30.0 |" in line
    assert "| 2.00 [2.00, 2.00] | 1.20 [1.20, 1.20] | +5.0% [+5.0%, +5.0%] | yes |" in line
    whole = [{**row, "frames": 1000} for row in found]
    assert parallel.table([*found, *whole]).count("| walker") == 2, "each setting has its own line"
    found[1]["rows_sha256"] = "other"
    assert "| NO |" in parallel.table(found)


def test_throughput_rows_are_ratios_of_one_run() -> None:
    rows_ = throughput.measure("dm_control/cartpole-swingup-v0", 8, 10, 3, [1, 2])
    assert [row["threads"] for row in rows_] == [1, 2]
    for row in rows_:
        assert row["physics_steps"] == 80
        assert row["imagine_ratio"] == pytest.approx(row["bare_ms"] / row["imagine_ms"], rel=1e-2)
        assert row["imagine_all_ms"] > 0
        assert row["plan_ratio"] == pytest.approx(row["bare_plan_ms"] / row["plan_ms"], rel=1e-2)
        assert 0 < row["plan_fraction_in_c"] < 1
        assert 0 < row["episode_fraction_in_c"] < 1


def throughput_row(name: str, threads: int, ratio: float, plan_ms: float, **more: Any) -> dict[str, Any]:
    row = {"task": f"dm_control/{name}-v0", "candidates": 64, "horizon": 40, "threads": threads, "plan_ratio": ratio}
    row |= {"plan_ms": plan_ms, "bare_ms": 9.0, "imagine_ms": 10.0, "imagine_all_ms": 11.0, "plan_fraction_in_c": 0.96}
    row |= {"episode_fraction_in_c": 0.97}
    return row | {"bare_steps_per_second": 1_000_000, "imagine_ratio": 0.9} | more


def test_throughput_says_which_goal_is_missed_where() -> None:
    found = [
        throughput_row("walker-walk", 1, 0.96, 40.0),
        throughput_row("walker-walk", 2, 0.94, 20.0),
        throughput_row("cheetah-run", 1, 0.96, 40.0, plan_fraction_in_c=0.8),
        throughput_row("cheetah-run", 2, 0.96, 25.0),
        throughput_row("reacher-easy", 1, 0.5, 40.0),
        throughput_row("walker-walk", 1, 0.86, 4.0, candidates=16, horizon=20),
    ]
    said = throughput.shortfall(found)
    assert "of `plan()` inside C at 64 × 40: cheetah-run with 1 thread (80.0%)." in said
    assert "Every row reaches the goal of 90% of planning in an episode inside C" in said
    assert "cheetah, humanoid, quadruped: walker-walk with 2 threads (0.940)." in said, "reacher has no such goal"
    assert "at 0.95 of bare C at 64 × 40 on cartpole, walker, cheetah, humanoid: walker-walk with 1 thread (0.9" in said
    assert "Every row reaches the goal of `plan()` at 0.85 of bare C at 16 × 20" in said
    assert "on two threads at N = 64: cheetah-run (1.600)." in said
    assert "Not measured: `plan()` 1.9 times as fast" in throughput.shortfall(found[:1])
    lines = throughput.table(found).splitlines()
    assert lines[3].endswith("| +10.0% | 0.940 | 96.0% | 97.0% | 2.00 | 1.00 |")
    assert lines[2].endswith("| – | – |")
    assert lines[7].endswith("| – | – |"), "another setting's thread is no base"
    assert len({line.count("|") for line in lines}) == 1


def test_a_throughput_setting_is_two_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        throughput.main(["--settings", "64*40"])
    assert "'64*40' given, allowed: CANDIDATESxHORIZON" in capsys.readouterr().err


def test_published_rows_are_quoted_from_the_anchors() -> None:
    assert [returns.published(name) for name in returns.TASKS] == ["850", "656", "994", "964", "993", "825"]


@pytest.mark.parametrize("file", tables.FILES, ids=lambda file: file.name)
def test_documents_show_what_the_rows_say(file: Path) -> None:
    assert tables.written(file) == file.read_text(encoding="utf-8")
