"""The robustness benchmark: who plans for which worlds, and what is made of the rows."""

from __future__ import annotations

from typing import Any

import pytest

from agent import player
from benchmarks import robust, steps


def test_the_worlds_are_eight_and_unknown_to_the_planner() -> None:
    assert len(robust.WORLDS) == 8
    assert {"mass": 1.0, "gain": 1.0} not in robust.WORLDS
    for case in robust.cases(["cartpole-swingup"], ["plain", "worst"], 1, 1, 10_000):
        config = case.config
        assert (config.variant.mass, config.variant.gain) == (case.labels["mass"], case.labels["gain"])
        planned = () if config.world_model.robust is None else config.world_model.robust.variants
        assert len(planned) == (4 if case.labels["plan"] == "worst" else 0), "the same for every world"


@pytest.mark.parametrize("task", list(robust.GUARDRAILS))
@pytest.mark.parametrize("plan", ["plain", "worst"])
def test_all_search_as_many_physics_steps_under_the_same_guardrail(task: str, plan: str) -> None:
    case = robust.cases([task], [plan], 1, 1, 10_000)[0]
    agent, env, _ = player.made(case.config)
    observation, _ = env.reset(seed=0)
    agent.reset(0)
    agent.act(observation, env.snapshot())
    env.close()
    members = 5 if plan == "worst" else 1
    assert 10_000 - members * steps.per_candidate(case.config) < agent.model.spent.steps <= 10_000
    assert robust.GUARDRAILS[task]["name"] in agent.guardrails.names


def test_as_many_candidates_as_plain_planning_are_five_times_the_steps() -> None:
    cases = robust.cases(["walker-walk"], ["plain", "worst", "worst_x5"], 1, 1, 10_000)[:3]
    plain, worst, many = (case.config.planner.budget.evaluations for case in cases)
    assert plain == many == 10_000 // steps.per_candidate(cases[0].config)
    assert worst == 2_000 // steps.per_candidate(cases[0].config)


def test_the_worst_world_is_that_of_the_least_mean_return() -> None:
    def row(plan: str, mass: float, seed: int, total: float, violations: int = 0) -> dict[str, Any]:
        labels = {"plan": plan, "task": "dm_control/walker-walk-v0", "mass": mass, "gain": 1.0, "seed": seed}
        measured = {"return": total, "violation_steps": violations, "physics_steps_per_decision": 9_900.0}
        measured |= {"gate_steps_per_decision": 302.0}
        return labels | {"budget": 10_000} | measured

    found = [row("plain", 0.7, 0, 900.0), row("plain", 0.7, 1, 800.0), row("plain", 1.3, 0, 100.0, 7)]
    found += [row("plain", 1.3, 1, 300.0), row("worst", 0.7, 0, 500.0), row("worst", 1.3, 0, 600.0)]
    plain, worst = robust.table(found).splitlines()[2:]
    assert plain.startswith("| walker-walk | plain | 200.0 [100, 300] | 1.3, 1 | 525.0 [")
    assert "| 7 | 25% [5%, 70%] | 4 | 9,900 + 302 |" in plain
    assert worst.startswith("| walker-walk | worst | 500.0 | 0.7, 1 |")
