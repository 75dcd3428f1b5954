"""The effect of single choices in planning, each against the task's default preset at equal physics steps.

    telos bench ablations knots              fewer knots, and a shorter or longer horizon
    telos bench ablations warm_start         every decision planned afresh
    telos bench ablations elites             share of the elites kept from iteration to iteration
    telos bench ablations noise              colour of the noise along time
    telos bench ablations timestep           the planning model's time step
    telos bench ablations integrator         the planning model's integrator
    telos bench ablations noslip             the planning model's passes against slip

Rows are appended to `runs/bench/ablations.jsonl` as episodes finish. The planner evaluates as many candidates as
`--budget` physics steps allow, so a coarser time step or a shorter horizon gives it more candidates.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.config.config import Config
from agent.config.load import load, preset_of
from agent.rollouts.jobs import PLAYER
from benchmarks.harness import experiment, rows, steps
from benchmarks.planners import planners
from benchmarks.planners.scores import interval, mean_return, name_of
from benchmarks.players import cold
from envs.errors import TelosError

OUT = rows.RESULTS / "planners" / "ablations.jsonl"
TASKS = ("cartpole-swingup", "cheetah-run", "walker-walk")
OTHER_TASKS: Mapping[str, Sequence[str]] = {
    "timestep": ("hopper-stand", "quadruped-run", "walker-walk"),  # several physics steps in a control step
    "noslip": ("dog-stand", "dog-trot", "dog-walk"),  # only the dog's own model has such passes (four)
}


@dataclass(frozen=True)
class Variation:
    """One change to the default way of planning."""

    name: str
    overrides: Mapping[str, Any]
    player: str = PLAYER


def _knots(config: Config) -> list[Variation]:
    horizon, count = config.planner.horizon, config.planner.params.get("knots", config.planner.horizon)
    choices = dict.fromkeys((max(2, count // 4), max(2, count // 2), count, horizon))
    found = [Variation(f"{knots} knots", {"planner.params.knots": knots}) for knots in choices]
    for other in (round(horizon * 0.5), round(horizon * 1.5)):
        found.append(Variation(f"horizon {other}", {"planner.horizon": other}))
    return found


def _warm_start(_: Config) -> list[Variation]:
    return [Variation("warm", {}), Variation("cold", {}, cold.PLAYER)]


def _elites(_: Config) -> list[Variation]:
    return [Variation(f"keep {share}", {"planner.params.keep": share}) for share in (0.0, 0.3, 1.0)]


def _noise(_: Config) -> list[Variation]:
    return [Variation(f"beta {beta}", {"planner.params.beta": beta}) for beta in (0.0, 0.5, 1.0, 2.0, 3.0)]


def _timestep(config: Config) -> list[Variation]:
    period, own = steps.natural(config.task)
    whole = round(period / own)
    factors = [factor for factor in range(1, whole + 1) if whole % factor == 0]
    return [Variation(f"{1e3 * own * f:.3g} ms", {"world_model.timestep": own * f}) for f in factors]


def _integrator(_: Config) -> list[Variation]:
    return [Variation(kind, {"world_model.integrator": kind}) for kind in ("Euler", "implicitfast", "RK4")]


def _noslip(_: Config) -> list[Variation]:
    return [Variation(f"{passes} passes", {"world_model.noslip_iterations": passes}) for passes in (0, 4)]


ABLATIONS: Mapping[str, Callable[[Config], list[Variation]]] = {
    "knots": _knots,
    "warm_start": _warm_start,
    "elites": _elites,
    "noise": _noise,
    "timestep": _timestep,
    "integrator": _integrator,
    "noslip": _noslip,
}


def tasks_of(name: str) -> Sequence[str]:
    """The tasks that an ablation is measured on by default."""
    return OTHER_TASKS.get(name, TASKS)


def varied(task_id: str, variation: Variation, seed: int, threads: int, budget: int) -> Config:
    """The task's default preset with the variation and with as many candidates as the budget allows."""

    def made(more: Mapping[str, Any]) -> Config:
        return load(
            preset_of(task_id),
            task=task_id,
            overrides={**variation.overrides, "seed": seed, "threads": threads, "video": False, **more},
        )

    return made({"planner.budget": steps.affordable(made({}), budget)})


def cases(name: str, tasks: Sequence[str], seeds: int, threads: int, budget: int) -> list[experiment.Case]:
    """Episodes of 1,000 frames (the environment's own limit). Raises TelosError for a task with nothing to vary."""
    found = []
    for task in tasks:
        task_id = f"dm_control/{task}-v0"
        variations = ABLATIONS[name](load(preset_of(task_id), task=task_id))
        if len(variations) < 2:
            only = ", ".join(variation.name for variation in variations)
            raise TelosError(f"ablations {name}", f"{task}, which has {only} only", "tasks with several values")
        for variation in variations:
            for seed in range(seeds):
                labels = {"ablation": name, "value": variation.name, "task": task_id, "seed": seed, "budget": budget}
                config = varied(task_id, variation, seed, threads, budget)
                found.append(experiment.Case(labels, config, variation.player))
    return found


def missing(found: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on ablations without rows, and on values with fewer seeds than others of the same ablation."""
    seeds = Counter((row["ablation"], name_of(row["task"]), row["value"]) for row in found)
    most = {name: max((n for (mine, *_), n in seeds.items() if mine == name), default=0) for name in ABLATIONS}
    none = [name for name, count in most.items() if count == 0]
    few = [f"{task}, {value} ({n} of {most[name]})" for (name, task, value), n in seeds.items() if n < most[name]]
    said = [("Without rows so far", none), ("Fewer seeds so far", few)]
    return " ".join(f"{words}: {', '.join(what)}." for words, what in said if what)


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    groups: dict[tuple[str, str, str, int], list[Mapping[str, Any]]] = {}
    for row in found:
        groups.setdefault((row["ablation"], name_of(row["task"]), row["value"], row["budget"]), []).append(row)
    lines = [
        "| ablation | task | value | return, mean [95 %] | seeds | physics steps / decision | plan, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, task, value, _), mine in groups.items():
        estimate = mean_return([row["return"] for row in mine])
        spent = np.mean([row["model_steps_per_decision"] for row in mine])
        time = np.median([row["plan_ms_median"] for row in mine])
        lines.append(f"| {name} | {task} | {value} | {interval(estimate)} | {len(mine)} | {spent:,.0f} | {time:.1f} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = experiment.parser("ablations", __doc__)
    parser.add_argument("names", nargs="*", default=list(ABLATIONS), help=", ".join(ABLATIONS))
    parser.add_argument(
        "--tasks",
        nargs="*",
        help="where none are given: "
        + ", ".join(TASKS)
        + "".join(f"; for {name} {', '.join(tasks)}" for name, tasks in OTHER_TASKS.items()),
    )
    parser.add_argument("--seeds", type=rows.count, default=3)
    parser.add_argument("--budget", type=rows.count, default=10_000, help="physics steps per decision")
    options = parser.parse_args(argv)
    for name in options.names:
        if name not in ABLATIONS:
            raise TelosError.unknown("ablation", name, ABLATIONS)
    if not options.table:
        threads = experiment.threads(options)
        todo = [
            case
            for name in options.names
            for case in cases(
                name, planners.named(options.tasks or tasks_of(name)), options.seeds, threads, options.budget
            )
        ]
        with experiment.rollouts(options) as rollouts:
            experiment.measure(todo, options.out, rollouts)
    print(table(rows.read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
