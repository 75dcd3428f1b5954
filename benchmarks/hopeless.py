"""What could be spared by ending candidates that cannot win any more.

    telos bench hopeless              measure what is missing, then print the table
    telos bench hopeless --table

A candidate is hopeless once its cost so far, with the least that every step left can cost, is above what the last
candidate that the search keeps of its batch can come to: where all are simulated side by side, at the most that any
step of theirs costs for every step left; in hindsight, at what it does cost in the end, which is more than any bound
that is never wrong can spare. The least cost is minus the weight of the task's reward, which is at most 1; residuals
cost at least 0. Episodes are planned as usual, by the task's default preset; rows go to `runs/bench/hopeless.jsonl` as
they come.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from agent import episode, player
from agent.config import Config
from agent.load import load, preset_of
from benchmarks import rows, steps
from benchmarks.planner_scores import name_of
from planners.icem import IcemParams
from planners.problem import Batch

OUT = rows.RESULTS / "planners" / "hopeless.jsonl"
TASKS = ("cartpole-swingup", "cheetah-run", "walker-walk", "reacher-hard", "hopper-hop", "quadruped-run")


def spared(step_cost: np.ndarray, kept: int, least: float) -> tuple[int, int]:
    """Control steps of a batch's candidates, of costs (N,H), that are hopeless: as it is known on the way, and in
    hindsight.

    Args:
        kept: candidates of the batch that the search goes on with.
        least: that a step can cost.
    """
    number, horizon = step_cost.shape
    if number <= kept:
        return 0, 0
    cost = step_cost.cumsum(1)[:, :-1]  # after the last step there is nothing to be spared
    left = horizon - 1 - np.arange(horizon - 1)
    bound = cost + least * left
    on_the_way = np.partition(cost, kept - 1, 0)[kept - 1] + step_cost.max() * left  # (H-1,)
    in_the_end = np.partition(step_cost.sum(1), kept - 1)[kept - 1]
    return _left(bound > on_the_way + 1e-9, left), _left(bound > in_the_end + 1e-9, left)


def _left(hopeless: np.ndarray, left: np.ndarray) -> int:
    """Steps that are left where each row (N,H-1) is hopeless for the first time, all together."""
    first = hopeless & (hopeless.cumsum(1) == 1)
    return int((first * left).sum())


def of_plan(batches: Sequence[Batch], kept: int, least: float) -> tuple[int, int, int]:
    """Control steps of one plan that could be spared, on the way and in hindsight, and all of them."""
    costs = [batch.evaluation.step_cost.numpy() for batch in batches if bool(batch.evaluation.valid.all())]
    on_the_way, in_the_end = np.sum([spared(cost, kept, least) for cost in costs], 0)
    return int(on_the_way), int(in_the_end), sum(cost.size for cost in costs)


def configured(task: str, seed: int, frames: int, threads: int, budget: int) -> Config:
    """The task's default preset at so many physics steps per decision."""
    task_id = f"dm_control/{task}-v0"
    preset = load(preset_of(task_id), task=task_id)
    more = {"planner.budget": steps.affordable(preset, budget), "frames": frames, "threads": threads}
    return load(preset_of(task_id), task=task_id, overrides={**more, "seed": seed, "video": False})


def measure(config: Config, console: Console) -> dict[str, Any]:
    """Play one episode, and look at every plan."""
    agent, env, monitor = player.made(config)
    kept, limit = int(config.planner.params.get("elites", IcemParams().elites)), config.frames
    found = []
    with closing(env):
        watched = episode.play(agent, env, monitor, config.seed, 0, limit)
        for _ in track(watched, name_of(config.task), limit, console=console, disable=not console.is_terminal):
            assert agent.decision is not None
            assert agent.decision.plan.population is not None
            found.append(of_plan(agent.decision.plan.population.batches, kept, -config.cost.task))
    on_the_way, in_the_end, whole = np.sum(found, 0).tolist()
    return {"decisions": len(found), "spared": on_the_way / whole, "spared_in_hindsight": in_the_end / whole}


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| task | steps of candidates that could be spared | in hindsight | decisions | seed |",
        "|---|---|---|---|---|",
    ]
    for row in found:
        values = (
            name_of(row["task"]),
            f"{row['spared']:.2%}",
            f"{row['spared_in_hindsight']:.2%}",
            str(row["decisions"]),
        )
        lines.append(f"| {' | '.join(values)} | {row['seed']} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = rows.parser("hopeless", __doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=rows.count, default=1)
    parser.add_argument("--frames", type=rows.count, default=300)
    parser.add_argument("--budget", type=rows.count, default=5_000, help="physics steps per decision")
    parser.add_argument("--threads", type=rows.count, default=1)
    options = parser.parse_args(argv)
    for seed in range(0 if options.table else options.seeds):
        for task in options.tasks:
            labels = {"task": f"dm_control/{task}-v0", "seed": seed, "frames": options.frames, "budget": options.budget}
            if tuple(labels.values()) not in rows.done(rows.read(options.out), list(labels)):
                config = configured(task, seed, options.frames, options.threads, options.budget)
                rows.append(options.out, {**labels, **measure(config, Console(stderr=True))})
    print(table(rows.read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
