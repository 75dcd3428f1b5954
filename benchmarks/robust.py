"""Robust planning for several physics models at once, in worlds whose mass and gain the planner does not know.

    telos bench robust                measure what is missing, then print the table
    telos bench robust --table

There are eight worlds: mass and gain are each 30 % too small, right, or 30 % too large, but not both right. `plain`
plans with the nominal model. `mean`, `cvar` and `worst` evaluate each candidate in the nominal model and in the four
corners, where mass and gain are both 30 % off. All spend the same physics steps per decision, so robust planners try a
fifth of the candidates; `worst_x5` tries as many candidates as `plain`, at five times the steps. Guardrails are always
enforced: the gate checks them in every model that is planned for, and the monitor scores them on the real states.
Rows are appended to `runs/bench/robust.jsonl` as episodes finish.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from agent.config.config import Config
from agent.config.load import load
from agent.rollouts.jobs import PLAYER
from benchmarks.harness import experiment, rows, steps
from benchmarks.planners.scores import interval, mean_return, name_of
from envs.errors import TelosError
from envs.guardrails import registry as guardrails

OUT = rows.RESULTS / "planners" / "robust.jsonl"
OFF = (0.7, 1.0, 1.3)
WORLDS = tuple({"mass": mass, "gain": gain} for mass, gain in product(OFF, OFF) if (mass, gain) != (1.0, 1.0))
CORNERS = tuple({"mass": mass, "gain": gain} for mass, gain in product((0.7, 1.3), (0.7, 1.3)))
PLANS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "mean": {"risk.kind": "mean", "world_model.variants": CORNERS},
    "cvar": {"risk": {"kind": "cvar", "alpha": 0.4}, "world_model.variants": CORNERS},
    "worst": {"risk.kind": "worst", "world_model.variants": CORNERS},
    "worst_x5": {"risk.kind": "worst", "world_model.variants": CORNERS},
}
AS_MANY_CANDIDATES = ("worst_x5",)  # plans with as many candidates as `plain`, whatever they cost
GUARDRAILS: Mapping[str, Mapping[str, Any]] = {
    "cartpole-swingup": {"kind": "joint_position", "name": "short_rail", "joint": "slider"}
    | {"lower": -0.6, "upper": 0.6, "unit": "m", "scale": 0.1},
    "cheetah-run": {"kind": "body_orientation", "name": "no_somersault", "body": "torso", "limit": 0.9, "scale": 0.1},
    "walker-walk": {"kind": "body_height", "name": "upright", "body": "torso", "lower": 0.9, "scale": 0.1},
}


def guarded() -> str:
    """The limits of each task's guardrail, in words."""
    return "; ".join(f"{task}: `{rule['name']}`, {_limits(rule)}" for task, rule in GUARDRAILS.items())


def _limits(rule: Mapping[str, Any]) -> str:
    unit, on = guardrails.parse(rule).unit, rule.get("joint") or rule["body"]
    limits = (f"{name} {rule[name]} {unit}" for name in ("lower", "upper", "limit") if name in rule)
    return f"{rule['kind']} of {on}, {', '.join(limits)}"


def configured(task: str, plan: str, world: Mapping[str, float], seed: int, threads: int, budget: int) -> Config:
    """The task's default preset under its guardrail, in one of the worlds."""
    task_id = f"dm_control/{task}-v0"

    def made(more: Mapping[str, Any]) -> Config:
        fixed = {"seed": seed, "threads": threads, "video": False, "variant": dict(world)}
        named = {"guardrails": [dict(GUARDRAILS[task])]}
        return load(task=task_id, overrides={**PLANS[plan], **fixed, **named, **more})

    config = made({})
    alone = not config.world_model.variants or plan in AS_MANY_CANDIDATES
    members = 1 if alone else 1 + len(CORNERS)
    least = members * steps.per_candidate(config)
    if budget < least:
        each = "" if members == 1 else f" in each of {members} physics"
        raise TelosError("--budget", f"{budget:,} physics steps", f">= {least:,}, one candidate on {task_id}{each}")
    return made({"planner.budget": steps.affordable(config, budget // members)})


def cases(tasks: Sequence[str], plans: Sequence[str], seeds: int, threads: int, budget: int) -> list[experiment.Case]:
    """Episodes of 1,000 frames (the environment's own limit)."""
    return [
        experiment.Case(
            {"plan": plan, "task": f"dm_control/{task}-v0", **world, "seed": seed, "budget": budget},
            configured(task, plan, world, seed, threads, budget),
            PLAYER,
        )
        for seed in range(seeds)
        for task in tasks
        for world in WORLDS
        for plan in plans
    ]


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table.

    Episodes from one start are not independent, so intervals are over starts: of a start's mean return over worlds, of
    its return in the worst world, and of its mean number of violating steps per episode.
    """
    lines = [
        "| task | plan | starts | all worlds: mean return [95 %] | worst world of each start: mean return [95 %] "
        "| violating steps per episode [95 %] | starts with one | episodes with one "
        "| physics steps / decision, search + gate |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str, int], dict[int, list[Mapping[str, Any]]]] = {}
    for row in found:
        starts = groups.setdefault((name_of(row["task"]), row["plan"], row["budget"]), {})
        starts.setdefault(row["seed"], []).append(row)
    for (task, plan, _), starts in sorted(groups.items()):
        whole = [mine for mine in starts.values() if len(mine) == len(WORLDS)]  # other starts are incomplete
        if not whole:
            continue
        mine = [row for rows_ in whole for row in rows_]
        returns = [[row["return"] for row in rows_] for rows_ in whole]
        violations = [[row["violation_steps"] for row in rows_] for rows_ in whole]
        lines.append(
            f"| {task} | {plan} | {len(whole)} "
            f"| {interval(mean_return([float(np.mean(values)) for values in returns]))} "
            f"| {interval(mean_return([min(values) for values in returns]))} "
            f"| {interval(mean_return([float(np.mean(values)) for values in violations]))} "
            f"| {sum(any(values) for values in violations)} of {len(whole)} "
            f"| {sum(row['violation_steps'] > 0 for row in mine)} of {len(mine)} "
            f"| {np.mean([row['model_steps_per_decision'] for row in mine]):,.0f} "
            f"+ {np.mean([row['gate_steps_per_decision'] for row in mine]):,.0f} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = experiment.parser("robust", __doc__)
    parser.add_argument("--tasks", nargs="*", default=list(GUARDRAILS), choices=list(GUARDRAILS))
    parser.add_argument("--plans", nargs="*", default=["plain", "worst", "worst_x5"], choices=list(PLANS))
    parser.add_argument("--seeds", type=rows.count, default=3)
    parser.add_argument(
        "--budget", type=rows.count, default=5_000, help="physics steps per decision, of all members together"
    )
    options = parser.parse_args(argv)
    if not options.table:
        threads = experiment.threads(options)
        with experiment.rollouts(options) as rollouts:
            todo = cases(options.tasks, options.plans, options.seeds, threads, options.budget)
            experiment.measure(todo, options.out, rollouts)
    print(table(rows.read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
