"""Returns of the default presets on real dm_control episodes, beside random, do-nothing and published rows.

    telos bench returns                 measure what is missing, then print the table
    telos bench returns --table         print the table alone

Rows are appended to `runs/bench/returns.jsonl` as episodes finish; an interrupted run continues where it stopped.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import Any

from agent.config.load import load
from agent.rollouts.jobs import PLAYER, Played
from benchmarks.harness import experiment, rows
from benchmarks.planners.scores import interval, mean_return
from benchmarks.players import scripted

TASKS = ("cartpole-swingup", "cheetah-run", "walker-walk", "reacher-easy", "ball_in_cup-catch", "finger-spin")
AGENTS = {"telos": PLAYER, "random": scripted.RANDOM, "do_nothing": scripted.DO_NOTHING}
TARGETS = {
    "cartpole-swingup": 850.0,
    "cheetah-run": 800.0,
    "walker-walk": 970.0,
    "reacher-easy": 970.0,
    "ball_in_cup-catch": 970.0,
    "finger-spin": 900.0,
}
OUT = rows.RESULTS / "returns.jsonl"


def cases(tasks: Sequence[str], agents: Sequence[str], seeds: int, threads: int) -> list[experiment.Case]:
    """Episodes of 1,000 frames (the environment's own limit); `threads` changes only their times."""
    return [
        experiment.Case(
            {"agent": agent, "task": f"dm_control/{name}-v0", "seed": seed},
            load(task=f"dm_control/{name}-v0", overrides={"seed": seed, "threads": threads, "video": False}),
            AGENTS[agent],
        )
        for seed in range(seeds)
        for name in tasks
        for agent in agents
    ]


def published(name: str) -> str:
    """The return of CEM on the true simulator in the PlaNet paper, from the anchors; "" if there is none."""
    with (rows.ANCHORS / "dm_control_returns.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["task"] == name and row["method"].startswith("CEM with the true simulator"):
                return row["mean_return"]
    return ""


def table(found: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| task | target | telos, mean [95 %] | worst seed | seeds | random | do nothing | CEM (PlaNet) "
        "| physics steps / decision, search + gate | s / decision | threads | in C | violations |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in TASKS:
        mine = [row for row in found if row["task"] == f"dm_control/{name}-v0"]
        returns = {agent: [row["return"] for row in mine if row["agent"] == agent] for agent in AGENTS}
        if not returns["telos"]:
            continue
        ours = [row for row in mine if row["agent"] == "telos"]
        estimate = mean_return(returns["telos"])
        plain = {a: f"{sum(v) / len(v):.0f}" if v else "" for a, v in returns.items()}
        lines.append(
            f"| {name} | {TARGETS[name]:.0f} | {interval(estimate)} | {min(returns['telos']):.1f} "
            f"| {len(ours)} | {plain['random']} | {plain['do_nothing']} | {published(name)} "
            f"| {max(row['model_steps_per_decision'] for row in ours):,.0f} "
            f"+ {max(row['gate_steps_per_decision'] for row in ours):,.0f} "
            f"| {sum(row['seconds_per_decision'] for row in ours) / len(ours):.3f} "
            f"| {', '.join(sorted({str(row['threads']) for row in ours}))} "
            f"| {sum(row['simulator_fraction'] for row in ours) / len(ours):.1%} "
            f"| {sum(row['violation_steps'] for row in ours)} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = experiment.parser("returns", __doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=TASKS)
    parser.add_argument("--agents", nargs="*", default=list(AGENTS), choices=list(AGENTS))
    parser.add_argument("--seeds", type=rows.count, default=5)
    options = parser.parse_args(argv)
    if not options.table:
        threads = experiment.threads(options)
        with experiment.rollouts(options) as rollouts:
            todo = cases(options.tasks, options.agents, options.seeds, threads)
            experiment.measure(todo, options.out, rollouts, lambda played: times(played, threads))
    print(table(rows.read(options.out)))
    return 0


def times(played: Played, threads: int) -> dict[str, Any]:
    """A row's extra fields: threads, and seconds per decision."""
    return {"threads": threads, "seconds_per_decision": round(played.row.seconds / played.row.decisions, 5)}


if __name__ == "__main__":
    sys.exit(main())
