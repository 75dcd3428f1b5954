"""The robustness benchmark: the worlds that each plan considers, and the tables made from its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.rollouts import player
from benchmarks import robust
from benchmarks.harness import steps
from benchmarks.planners.scores import interval, mean_return
from envs.errors import TelosError


def test_the_worlds_are_eight_and_unknown_to_the_planner() -> None:
    assert len(robust.WORLDS) == 8
    assert {"mass": 1.0, "gain": 1.0} not in robust.WORLDS
    for case in robust.cases(["cartpole-swingup"], ["plain", "worst"], 1, 1, 10_000):
        config = case.config
        assert (config.variant.mass, config.variant.gain) == (case.labels["mass"], case.labels["gain"])
        planned = config.world_model.variants
        assert len(planned) == (4 if case.labels["plan"] == "worst" else 0), "the same for every world"


def test_the_guardrails_are_told_with_their_limits() -> None:
    said = robust.guarded()
    assert "cartpole-swingup: `short_rail`, joint_position of slider, lower -0.6 m, upper 0.6 m" in said
    assert "cheetah-run: `no_somersault`, body_orientation of torso, limit 0.9 rad" in said


@pytest.mark.parametrize("task", list(robust.GUARDRAILS))
@pytest.mark.parametrize("plan", ["plain", "worst"])
def test_all_search_as_many_physics_steps_under_the_same_guardrail(task: str, plan: str) -> None:
    case = robust.cases([task], [plan], 1, 1, 10_000)[0]
    agent, world = player.made(case.config)
    agent.reset(0)
    agent.act(world.reset(0))
    world.env.close()
    members = 5 if plan == "worst" else 1
    assert 10_000 - members * steps.per_candidate(case.config) < agent.model.spent.steps <= 10_000
    assert robust.GUARDRAILS[task]["name"] in agent.guardrails.names


def test_as_many_candidates_as_plain_planning_are_five_times_the_steps() -> None:
    cases = robust.cases(["walker-walk"], ["plain", "worst", "worst_x5"], 1, 1, 10_000)[:3]
    plain, worst, many = (case.config.planner.budget.evaluations for case in cases)
    assert plain == many == 10_000 // steps.per_candidate(cases[0].config)
    assert worst == 2_000 // steps.per_candidate(cases[0].config)


def test_a_budget_that_pays_for_no_candidate_is_told_as_it_was_given() -> None:
    plain = robust.configured("walker-walk", "plain", robust.WORLDS[0], 0, 1, 5_000)
    least = 5 * steps.per_candidate(plain)
    assert robust.configured("walker-walk", "worst", robust.WORLDS[0], 0, 1, least).planner.budget.evaluations == 1
    with pytest.raises(TelosError, match=f"--budget: given {least - 1:,} physics steps; allowed: >= {least:,}, one "):
        robust.configured("walker-walk", "worst", robust.WORLDS[0], 0, 1, least - 1)


def test_intervals_are_over_starts() -> None:
    def row(plan: str, world: Mapping[str, float], seed: int, total: float, violations: int = 0) -> dict[str, Any]:
        labels = {"plan": plan, "task": "dm_control/walker-walk-v0", **world, "seed": seed}
        measured = {"return": total, "violation_steps": violations, "model_steps_per_decision": 9_900.0}
        return labels | {"budget": 10_000, "gate_steps_per_decision": 302.0} | measured

    first, *others = robust.WORLDS
    found = [row("plain", world, seed, 600.0) for world in others for seed in (0, 1)]
    found += [row("plain", first, 0, 100.0, 16), row("plain", first, 1, 200.0), row("worst", first, 0, 1.0)]
    found += [row("worst_x5", world, 0, 500.0) for world in robust.WORLDS]
    plain, many = robust.table(found).splitlines()[2:]
    means = mean_return([(7 * 600 + 100) / 8, (7 * 600 + 200) / 8])
    assert plain.startswith(f"| walker-walk | plain | 2 | {interval(means)} | {interval(mean_return([100, 200]))} |")
    assert plain.endswith(f"| {interval(mean_return([2, 0]))} | 1 of 2 | 1 of 16 | 9,900 + 302 |")
    assert many.startswith("| walker-walk | worst_x5 | 1 | 500.0 | 500.0 | 0.0 | 0 of 1 | 0 of 8 |")
