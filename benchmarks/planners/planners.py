"""Planners on real dm_control episodes, at equal physics steps or equal time.

    telos bench planners                                      the 21 tasks, the default planner, five seeds
    telos bench planners --tasks hard --planners sampling     eight tasks, every sampling planner
    telos bench planners --match time                         the same seconds for all, instead of the same steps
    telos bench planners --table                              print the tables of what there is, and write the page

Every task uses its default preset: horizon, knots, cost and the descent after a search are the same for all planners.
A planner's other parameters are its defaults, or the preset's if the preset names that planner. With `--match steps`
every planner searches as many physics steps per decision as `--budget` allows. With `--match time` every planner gets
as many seconds as the default planner took in its step-matched rows, which must exist. The seed determines the start,
so all planners begin from the same starts. Rows are appended to `runs/bench/planners.jsonl` as episodes finish; the
page is written beside them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from agent.config.config import Config
from agent.config.load import load, preset_of
from agent.rollouts.jobs import PLAYER
from benchmarks.harness import experiment, rows, steps
from benchmarks.planners import page as planner_page
from benchmarks.planners import tables as planner_tables
from benchmarks.planners.scores import FRESH, name_of
from benchmarks.players import scripted
from envs import registry
from envs.errors import TelosError
from planners import registry as planners
from planners.sampling.base import SamplingPlanner

SUITE = (
    *("acrobot-swingup", "ball_in_cup-catch", "cartpole-balance", "cartpole-balance_sparse", "cartpole-swingup"),
    *("cartpole-swingup_sparse", "cheetah-run", "finger-spin", "finger-turn_easy", "finger-turn_hard", "fish-swim"),
    *("hopper-hop", "hopper-stand", "pendulum-swingup", "quadruped-run", "quadruped-walk", "reacher-easy"),
    *("reacher-hard", "walker-run", "walker-stand", "walker-walk"),
)
GIANTS = (*("dog-run", "dog-stand", "dog-trot", "dog-walk"), *("humanoid-run", "humanoid-stand", "humanoid-walk"))
HARD = (
    *("acrobot-swingup", "cartpole-swingup", "cheetah-run", "finger-turn_hard", "hopper-hop", "quadruped-run"),
    *("reacher-hard", "walker-run"),
)
GROUPS: Mapping[str, tuple[str, ...]] = {"suite": SUITE, "giants": GIANTS, "hard": HARD}
DEFAULT = "icem"
SHARED = ("knots", "interpolation", "descent")  # the preset's parameters that other planners take over
BASELINES = {"random": scripted.RANDOM, "do_nothing": scripted.DO_NOTHING}
OUT = rows.RESULTS / "planners" / "suite.jsonl"
BUDGET = 39_000  # physics steps per decision; with the gate's steps the total stays below 40,000


def named(words: Sequence[str]) -> list[str]:
    """Task names, with groups expanded. Raises TelosError for an unknown task."""
    found = [task for word in words for task in GROUPS.get(word, (word,))]
    there = [name_of(task_id) for task_id in registry.table() if task_id.startswith("dm_control/")]
    for task in found:
        if task not in there:
            raise TelosError.unknown("--tasks", task, [*there, *GROUPS])
    return found


def contenders(words: Sequence[str]) -> list[str]:
    """Planner names, with `sampling` expanded. Raises TelosError for a planner that is unknown or cannot be loaded."""
    table = planners.table()
    found: list[str] = []
    for word in words:
        if word not in table and word not in BASELINES and word != "sampling":
            raise TelosError.unknown("--planners", word, [*table, *BASELINES, "sampling"])
        try:
            if word == "sampling":
                found += [name for name in table if issubclass(planners.load(name), SamplingPlanner)]
                continue
            if word in table:
                planners.load(word)
        except ValueError as error:
            raise TelosError(f"--planners {word}", str(error), "planners that can be loaded") from None
        found.append(word)
    return found


def configured(task: str, planner: str, seed: int, threads: int, budget: int, seconds: float | None) -> Config:
    """The task's default preset with this planner and a budget of physics steps, or of `seconds` if given."""
    task_id = f"dm_control/{task}-v0"
    preset = load(preset_of(task_id), task=task_id)
    params, kind = preset.planner.params, preset.planner.kind
    if planner not in BASELINES and planner != kind:
        own = vars(planners.load(planner).Params())
        shared = {"knots": None, **params}  # if the preset has no knots, all planners use one per step
        params = {name: shared[name] for name in SHARED if name in shared and name in own}
        kind = planner
    allowed = steps.affordable(preset, budget) if seconds is None else {"seconds": seconds}
    chosen = {"planner.kind": kind, "planner.params": params, "planner.budget": allowed}
    return load(
        preset_of(task_id), task=task_id, overrides={**chosen, "seed": seed, "threads": threads, "video": False}
    )


def cases(
    tasks: Sequence[str],
    names: Sequence[str],
    seeds: Sequence[int],
    threads: int,
    budget: int,
    seconds: Mapping[str, float] | None,
) -> list[experiment.Case]:
    """Episodes of 1,000 frames (the environment's own limit).

    Args:
        budget: physics steps per decision, rounded down to whole candidates.
        seconds: task -> seconds per decision if time is matched; None if steps are.
    """
    return [
        experiment.Case(
            {"planner": name, "task": f"dm_control/{task}-v0", "seed": seed, "budget": budget}
            | {"match": "steps" if seconds is None else "time", "threads": threads},
            configured(task, name, seed, threads, budget, None if seconds is None else seconds[task]),
            BASELINES.get(name, PLAYER),
        )
        for seed in seeds
        for task in tasks
        for name in names
    ]


def time_of(found: Sequence[Mapping[str, Any]], tasks: Sequence[str], budget: int, threads: int) -> dict[str, float]:
    """Median seconds per decision of the default planner in the step-matched rows, by task.

    Raises:
        TelosError: a task has no such rows.
    """
    wanted = {"planner": DEFAULT, "match": "steps", "budget": budget, "threads": threads}
    out = {}
    for task in tasks:
        labels = {**wanted, "task": f"dm_control/{task}-v0"}
        times = [row["plan_ms_median"] / 1e3 for row in found if labels.items() <= row.items()]
        if not times:
            raise TelosError("--match time", f"no step-matched rows of {DEFAULT} on {task}", "measure those first")
        out[task] = round(median(times), 4)
    return out


def main(argv: Sequence[str] | None = None) -> int:
    parser = experiment.parser("planners", __doc__)
    parser.add_argument("--tasks", nargs="*", default=["suite"], help=f"names, or {', '.join(GROUPS)}")
    parser.add_argument("--planners", nargs="*", default=[DEFAULT], help="names, random, do_nothing, or sampling")
    parser.add_argument("--seeds", type=rows.seeds, default=FRESH, help="a number of seeds from 0, or 100..104, or 3,7")
    parser.add_argument("--budget", type=rows.count, default=BUDGET, help="physics steps per decision")
    parser.add_argument("--match", choices=["steps", "time"], default="steps")
    options = parser.parse_args(argv)
    if options.out.suffix == ".html":  # the page has this name and would overwrite the rows
        raise TelosError(f"--out {options.out}", "the name of a page", "a file for rows; the page beside it has .html")
    tasks, names = named(options.tasks), contenders(options.planners)
    if not options.table:
        threads = experiment.threads(options)
        there = rows.read(options.out)
        seconds = time_of(there, tasks, options.budget, threads) if options.match == "time" else None
        todo = cases(tasks, names, options.seeds, threads, options.budget, seconds)
        with experiment.rollouts(options) as rollouts:
            experiment.measure(todo, options.out, rollouts)
    found = rows.read(options.out)
    print(planner_tables.summary(found))
    print(planner_page.write(found, options.out.with_suffix(".html")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
