"""The planner benchmark: its cases, and the tables made from its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import figure

from agent.agent import Decision
from agent.config.load import load, preset_of, tuned_seeds
from agent.rollouts import episode, player
from agent.runs import statistics
from benchmarks import ablations
from benchmarks.harness import rows, steps
from benchmarks.planners import page as planner_page
from benchmarks.planners import planners
from benchmarks.planners import scores as planner_scores
from benchmarks.planners import tables as planner_tables
from benchmarks.players import cold
from envs.errors import TelosError
from planners import registry as names

TASK = "dm_control/pendulum-swingup-v0"


def row(planner: str = "icem", task: str = TASK, seed: int = 0, match: str = "steps", **more: Any) -> dict[str, Any]:
    made = {"planner": planner, "task": task, "seed": seed, "budget": 40_000, "match": match, "threads": 1}
    made |= {"return": 100.0, "model_steps_per_decision": 39_000.0, "plan_ms_median": 50.0, "plan_ms_p95": 60.0}
    return made | {"simulator_fraction": 0.95, "violation_steps": 0} | more


def test_the_suite_is_that_of_the_anchors() -> None:
    assert len(planners.SUITE) == 21
    assert set(planners.SUITE) | set(planners.GIANTS) == set(planner_scores.published())
    assert np.mean([planner_scores.published()[task].values["tdmpc2"] for task in planners.SUITE]) == pytest.approx(
        902.1, abs=0.05
    )


@pytest.mark.parametrize("task", [*planners.SUITE, *planners.GIANTS])
def test_one_planner_and_one_configuration_per_domain(task: str) -> None:
    """A task's own preset may change cost, guardrails and budget; the search settings are those of its domain."""
    mine = load(task=f"dm_control/{task}-v0")
    domain = load(preset_of(f"dm_control/{task.partition('-')[0]}-some-v0"))
    for field in ("kind", "horizon", "params"):
        assert getattr(mine.planner, field) == getattr(domain.planner, field), field
    assert mine.world_model == domain.world_model
    assert mine.planner.kind == planners.DEFAULT


@pytest.mark.parametrize("task", planners.SUITE)
def test_the_budget_holds_and_is_used(task: str) -> None:
    (case,) = planners.cases([task], ["icem"], range(1), 1, planners.BUDGET, None)
    agent, world = player.made(case.config)
    agent.reset(0)
    agent.act(world.reset(0))
    assert 0.9 * planners.BUDGET < agent.model.spent.steps <= planners.BUDGET
    assert case.config.frames is None
    world.env.close()


def test_planners_share_knots_and_starts_and_nothing_else() -> None:
    cases = planners.cases(["cartpole-swingup"], ["icem", "mppi", "random_shooting"], range(2), 1, 40_000, None)
    by = {case.labels["planner"]: case.config for case in cases if case.labels["seed"] == 1}
    assert by["icem"].planner.params == load(task="dm_control/cartpole-swingup-v0").planner.params
    assert by["mppi"].planner.params == {"knots": by["icem"].planner.params["knots"]}
    assert {config.planner.horizon for config in by.values()} == {by["icem"].planner.horizon}
    assert {config.seed for config in by.values()} == {1}


def test_one_knot_per_step_is_shared_with_planners_that_have_a_default() -> None:
    icem, sampling = planners.cases(["walker-walk"], ["icem", "predictive_sampling"], range(1), 1, 40_000, None)
    assert "knots" not in icem.config.planner.params
    assert sampling.config.planner.params == {"knots": None}


def test_a_descent_is_shared() -> None:
    icem, cem = planners.cases(["acrobot-swingup"], ["icem", "cem"], range(1), 1, 40_000, None)
    assert icem.config.planner.params["descent"] == cem.config.planner.params["descent"] > 0


def test_names_are_checked() -> None:
    assert planners.named(["hard", "dog-run"]) == [*planners.HARD, "dog-run"]
    assert {"icem", "dial_mpc"} <= set(planners.contenders(["sampling"]))
    assert "ilqr" not in planners.contenders(["sampling"])
    with pytest.raises(TelosError, match="did you mean 'icem'"):
        planners.contenders(["icme"])


def test_a_plug_in_that_cannot_be_loaded_is_left_out_or_told(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {**names.table(), "broken": names.Entry("nowhere:X", "from nowhere")}
    monkeypatch.setattr(names, "table", lambda: table)
    assert planners.contenders(["icem"]) == ["icem"], "nobody asked for it"
    for words in (["sampling"], ["broken"]):
        with pytest.raises(TelosError, match=r"--planners.*'broken', at nowhere:X"):
            planners.contenders(words)


def test_time_is_that_of_the_default_planner() -> None:
    found = [row(seed=seed, plan_ms_median=ms) for seed, ms in enumerate((40.0, 50.0, 90.0))]
    found.append(row("cem", plan_ms_median=1.0))
    seconds = planners.time_of(found, ["pendulum-swingup"], 40_000, 1)
    assert seconds == {"pendulum-swingup": 0.05}
    with pytest.raises(TelosError, match="no step-matched rows of icem on walker-run"):
        planners.time_of(found, ["walker-run"], 40_000, 1)
    (case,) = planners.cases(["pendulum-swingup"], ["cem"], range(1), 1, 40_000, seconds)
    assert (case.config.planner.budget.seconds, case.config.planner.budget.evaluations) == (0.05, None)


def test_how_far_seconds_were_kept() -> None:
    found = [row(), *(row("cem", seed=seed, match="time", plan_ms_median=ms) for seed, ms in enumerate((45, 48, 60)))]
    assert "0.90 to 1.20 of the seconds given, 0.96 in the" in planner_tables.kept(found, {"pendulum-swingup": 0.05})
    assert planner_tables.kept(found[:1], {"pendulum-swingup": 0.05}) == ""
    idle = row("random", match="time", plan_ms_median=0.0, model_steps_per_decision=0.0)
    assert "0.90 to 1.20" in planner_tables.kept([*found, idle], {"pendulum-swingup": 0.05})


def test_scores_are_normalised_by_random_and_the_best_published() -> None:
    best = planner_scores.published()["pendulum-swingup"].best
    found = [row(**{"return": best}), row(seed=1, **{"return": 10.0}), row("random", model_steps_per_decision=0.0)]
    found[2]["return"] = 10.0
    ours, random = planner_scores.cells(found)
    assert planner_scores.normalised(ours, [ours, random]).tolist() == [1.0, 0.0]
    assert np.isnan(planner_scores.normalised(ours, [ours])).all(), "nothing to compare with"


def test_profiles_weigh_tasks_the_same() -> None:
    scores = [np.array([0.2, 0.4]), np.array([0.9, 0.9, 0.9])]
    np.testing.assert_allclose(planner_scores.profile(scores, np.array([0.0, 0.3, 0.5, 1.0])), [1, 0.75, 0.5, 0])


def test_the_mean_over_tasks_does_not_depend_on_the_order_of_rows() -> None:
    walker = "dm_control/walker-run-v0"
    found = [row(seed=seed, **{"return": value}) for seed, value in enumerate((0.0, 100.0, 50.0))]
    found += [row(task=walker, seed=seed, **{"return": value}) for seed, value in enumerate((200.0, 300.0, 400.0))]
    whole = planner_scores.suite_mean(by_task(found))
    assert whole is not None
    assert whole == planner_scores.suite_mean(by_task([found[i] for i in (2, 0, 1, 4, 5, 3)]))
    assert whole[0] == statistics.mean_of_means([[0.0, 100.0, 50.0], [200.0, 300.0, 400.0]])
    assert whole[1] == pytest.approx((838.0 + 877.2) / 2)
    assert planner_scores.suite_mean({}) is None


def by_task(found: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    return {cell.task: cell.returns for cell in planner_scores.cells(found)}


def test_published_returns_are_of_seeds_that_no_preset_was_chosen_on() -> None:
    found = [row(seed=seed, **{"return": 900.0}) for seed in range(3)] + [row(seed=100, **{"return": 500.0})]
    (cell,) = planner_scores.cells(found)
    assert (cell.fresh, cell.tuned) == ((500.0,), (900.0, 900.0, 900.0))
    table = planner_tables.summary(found)
    own = planner_scores.interval(planner_scores.mean_return([900.0] * 3))
    assert f"| pendulum-swingup | icem | 500.0 | 500 | 1 | {own} |" in table
    walker = "dm_control/walker-run-v0"
    found += [row(task=walker, seed=seed, **{"return": 700.0}) for seed in (0, 1, 2, 100)]
    table = planner_tables.summary(found)
    assert "icem, mean over 2 tasks: 600.0; TD" in table
    assert "icem, mean over 2 tasks on the presets' own seeds: 800.0 [800, 800]; TD" in table


def test_every_preset_of_the_suite_names_the_seeds_on_which_it_was_chosen() -> None:
    for task in planners.SUITE:
        tuned = tuned_seeds(preset_of(f"dm_control/{task}-v0"))
        assert tuned == {0, 1, 2}
        assert not tuned & set(planner_scores.FRESH)


def test_settings_are_never_mixed() -> None:
    found = [row(seed=seed, budget=b, threads=t) for b, t in ((100, 1), (900, 1), (900, 2)) for seed in range(3)]
    found += [row(match="time", **{"return": 7.0}), row("cem"), row("random", model_steps_per_decision=0.0)]
    by_name = {cell.label: cell for cell in planner_scores.cells(found) if cell.match == "steps"}
    assert list(by_name) == [
        "icem (100 steps, threads: 1)",
        "icem (900 steps, threads: 1)",
        "icem (900 steps, threads: 2)",
        "cem",
        "random",
    ]
    assert {len(cell.returns) for name, cell in by_name.items() if "icem" in name} == {3}
    assert planner_tables.summary(found).count(", mean over 1 task on the presets' own seeds") == 5


def test_an_interval_from_zero_is_drawn() -> None:
    """A bar with lower end 0 is drawn from 0."""
    drawn = figure.Figure()
    cell = planner_scores.cells([row(seed=seed, **{"return": value}) for seed, value in enumerate((0.0, 0.0))])[0]
    planner_page._returns(drawn, [cell], [cell.task])
    (bar,) = [line for line in drawn.axes[0].lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
    assert list(bar.get_xdata()) == [cell.estimate.low, cell.estimate.high]
    assert cell.estimate.low == 0.0


def test_the_page_shows_every_cell(tmp_path: Path) -> None:
    found = [row(seed=seed, **{"return": 800.0 + seed}) for seed in range(100, 103)]
    found += [row("mppi", match="time"), row("random", model_steps_per_decision=0.0, **{"return": 0.0})]
    out = tmp_path / "planners.jsonl"
    for one in found:
        rows.append(out, one)
    page = planner_page.write(rows.read(out), tmp_path / "deep" / "page.html").read_text()
    assert "Equal physics steps" in page
    assert "Equal time" in page
    assert page.count('class="better"') == 1
    mean = planner_scores.interval(planner_scores.mean_return([900.0, 901.0, 902.0]))
    assert mean in page
    assert page.count("data:image/png") == 4
    assert "http" not in page.replace("http-equiv", ""), "self-contained"
    assert f"| pendulum-swingup | icem | {mean} |" in planner_tables.summary(found)


def test_the_matrix_ranks_planners_that_have_every_task() -> None:
    walker = "dm_control/walker-run-v0"
    found = [row("cem", **{"return": 100.0}), row("cem", task=walker, **{"return": 300.0})]
    found += [row("icem", **{"return": 500.0}), row("icem", task=walker, **{"return": 100.0})]
    found += [row("mppi", **{"return": 900.0}), row("icem", match="time", **{"return": 1.0})]
    nothing = {"model_steps_per_decision": 0.0, "return": 0.0}
    found += [row("random", **nothing), row("random", task=walker, **nothing)]
    lines = planner_tables.matrix(found, "steps").split("\n")
    best = [planner_scores.published()[task].best for task in ("pendulum-swingup", "walker-run")]
    scores = {"icem": (500 / best[0] + 100 / best[1]) / 2, "cem": (100 / best[0] + 300 / best[1]) / 2}
    assert lines[0] == "| matched by steps | pendulum-swingup | walker-run | normalised, mean [95 %] |"
    assert lines[2:] == [
        f"| `icem` | 500.0 | 100.0 | {scores['icem']:.3f} |",
        f"| `cem` | 100.0 | 300.0 | {scores['cem']:.3f} |",
        "| random actions | 0 | 0 | 0 |",
    ]
    assert planner_tables.matrix([], "steps") == ""


def test_tasks_that_lack_seeds_are_named() -> None:
    found = [row(seed=0), row(seed=100), row(seed=101), row("cem", task="dm_control/walker-run-v0")]
    said = planner_tables.missing(found, "icem", ["pendulum-swingup", "walker-run"], 3)
    assert said == "Tasks with fewer than 3 such seeds so far: pendulum-swingup (2), walker-run (0)."
    assert planner_tables.missing(found, "icem", ["pendulum-swingup"], 2) == ""
    assert planner_tables.missing([*found, row(budget=1)], "icem", ["pendulum-swingup"], 2) == "", "the fuller setting"


def test_rows_planned_with_more_threads_are_named() -> None:
    idle = row("random", threads=2, model_steps_per_decision=0.0)
    assert planner_tables.threaded([row(), idle]) == ""
    assert "pendulum-swingup (icem: 2)" in planner_tables.threaded([idle, row(threads=2)])


def test_seeds_are_counted_for_each_planner_and_task() -> None:
    found = [row(planner, seed=seed) for planner in ("icem", "cem") for seed in range(3)]
    assert planner_tables.seeds(found, "steps") == "3 seeds each"
    assert planner_tables.seeds(found[:-1], "steps") == "2 to 3 seeds each so far"
    assert planner_tables.seeds([*found, row("mppi", "dm_control/walker-run-v0")], "steps").startswith("0 to 3")


@pytest.mark.parametrize("name", list(ablations.ABLATIONS))
def test_ablations_change_one_thing_within_the_budget(name: str) -> None:
    """All variations differ, none exceeds the budget, and one of them is the preset's own setting."""
    cases = ablations.cases(name, ["walker-walk"], 1, 1, 10_000)
    plans = [(case.config.planner.params, case.config.planner.horizon, case.config.world_model) for case in cases]
    assert len({(repr(plan), case.player) for plan, case in zip(plans, cases, strict=True)}) == len(cases) >= 2
    for case in cases:
        spent = steps.per_candidate(case.config) * case.config.planner.budget.evaluations
        assert 0.9 * 10_000 < spent <= 10_000


def test_what_an_ablation_lacks_is_told() -> None:
    def changed(value: str, seed: int) -> dict[str, Any]:
        return {"ablation": "elites", "task": "dm_control/walker-walk-v0", "value": value, "seed": seed}

    whole = [changed(value, seed) for value in ("keep 0.0", "keep 0.3") for seed in range(3)]
    others = ", ".join(name for name in ablations.ABLATIONS if name != "elites")
    assert ablations.missing(whole) == f"Without rows so far: {others}."
    assert ablations.missing(whole[:-1]).endswith("Fewer seeds so far: walker-walk, keep 0.3 (2 of 3).")


def test_an_ablation_of_nothing_is_refused() -> None:
    with pytest.raises(TelosError, match="cartpole-swingup, which has 10 ms only"):
        ablations.cases("timestep", ["cartpole-swingup"], 1, 1, 10_000)
    for name in ablations.ABLATIONS:
        assert len(ablations.cases(name, ablations.tasks_of(name), 1, 1, 10_000)) >= 6


def test_a_budget_that_pays_for_no_candidate_is_refused(telos: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    done = telos("bench", "planners", "--tasks", "cartpole-swingup", "--budget", "10", "--out", out)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "--budget: given 10 physics steps; allowed: >= " in done.err
    for option, allowed in (("--seeds", "a number of seeds, or whole numbers"), ("--budget", "a whole number >= 1")):
        assert f"allowed: {allowed}" in telos("bench", "planners", option, "-1", "--out", out).err
    assert not out.exists()
    directory = telos("bench", "planners", "--table", "--out", tmp_path)
    assert "given a directory; allowed: a file for rows" in directory.err
    assert not tmp_path.with_suffix(".html").exists()


@pytest.mark.parametrize("more", [("--table",), ()])
def test_rows_are_not_where_the_page_goes(telos: Callable[..., Any], tmp_path: Path, more: tuple[str, ...]) -> None:
    out = tmp_path / "rows.html"
    rows.append(out, row())
    before = out.read_bytes()
    done = telos("bench", "planners", "--tasks", "pendulum-swingup", "--out", out, *more)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert f"--out {out}: given the name of a page; allowed: " in done.err
    assert out.read_bytes() == before


@pytest.mark.parametrize("more", [("--table",), ()])
def test_tasks_are_checked_before_anything_else(
    telos: Callable[..., Any], tmp_path: Path, more: tuple[str, ...]
) -> None:
    done = telos("bench", "planners", "--tasks", "hard", "walker-wlak", "--out", tmp_path / "rows.jsonl", *more)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "--tasks: given 'walker-wlak'" in done.err
    assert "did you mean 'walker-walk'" in done.err
    assert not list(tmp_path.iterdir())


def test_a_cold_agent_forgets() -> None:
    config = load(
        task=TASK, overrides={"frames": 3, "planner.budget.evaluations": 9, "planner.horizon": 5, "video": False}
    )
    warm, forgetful = (player.made(config) for _ in range(2))
    agent = forgetful[0]
    agent.actor = cold.ColdActor(config.planner.kind, config.planner.params)
    sources: list[torch.Tensor] = []

    def witness(step: int, decision: Decision) -> None:
        assert decision.plan.population is not None
        if step == 2:
            sources.append(decision.plan.population.actions[1])

    for who, world in (warm, forgetful):
        episode.run(who, world, 0, 0, frames=3, witness=witness)
        world.env.close()
    previous = warm[0].actor._state.previous
    assert previous is not None
    assert agent.actor._state.previous is None
    assert not torch.equal(sources[0], sources[1])


def test_rows_from_before_servos_held_their_place_are_marked() -> None:
    fish = "dm_control/fish-swim-v0"
    assert "fish-swim are stale" in planner_tables.stale([row(task=fish), row()])
    assert planner_tables.stale([row(task=fish, gate="simulator"), row()]) == ""
    assert planner_tables.stale([row("random", task=fish, model_steps_per_decision=0.0)]) == ""
