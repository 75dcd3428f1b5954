"""An upper bound on the control steps saved by stopping candidates that can no longer win.

    telos bench hopeless              measure what is missing, then print the table
    telos bench hopeless --table

A candidate is hopeless once its cost so far, plus the least possible cost of its remaining steps, exceeds the cost of
the worst elite. The worst elite is known only in hindsight. It is taken here from all candidates of the plan so far,
which are more than actually compete; so no rule that stops only candidates which would not have been elites can save
more. The least cost of a step is minus the weight of the task's reward, because rewards are at most 1 and residuals
cost at least 0. Plans use the default presets of tasks without guardrails, because guardrails rank candidates before
costs do. Rows are appended to `runs/bench/hopeless.jsonl` as episodes finish.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.agent import Decision
from agent.config.resolved import Resolved
from agent.rollouts import player
from agent.rollouts.episode import Step
from agent.rollouts.jobs import Played
from benchmarks.harness import experiment, rows
from benchmarks.planners import planners
from benchmarks.planners.scores import name_of
from envs.errors import TelosError
from planners.icem import IcemParams
from planners.problem import Batch

OUT = rows.RESULTS / "planners" / "hopeless.jsonl"
TASKS = ("cheetah-run", "finger-turn_hard", "hopper-hop", "quadruped-run", "reacher-hard", "walker-walk")
PLAYER = "benchmarks.hopeless:play"


@dataclass(frozen=True)
class Watched(Played):
    """An episode, and how many simulated control steps it could have saved."""

    spared: int = 0  # control steps of hopeless candidates
    simulated: int = 0  # control steps of all valid candidates


def spared(costs: Sequence[np.ndarray], kept: int, least: float) -> int:
    """The control steps that hopeless candidates have left when they become hopeless.

    Args:
        costs: step costs (N,H) of each batch of a plan, in order.
        kept: number of candidates that the search keeps after each batch (elites).
        least: the least possible cost of a step.
    """
    found, totals = 0, np.zeros(0)
    for cost in costs:
        totals = np.append(totals, cost.sum(1))
        if len(totals) <= kept:
            continue
        last = np.partition(totals, kept - 1)[kept - 1]
        left = np.arange(cost.shape[1] - 1, 0, -1)  # the last step leaves nothing to save
        hopeless = cost.cumsum(1)[:, :-1] + least * left > last + 1e-9 * (1 + abs(last))
        first = hopeless & (hopeless.cumsum(1) == 1)
        found += int((first * left).sum())
    return found


def _costs(batches: Sequence[Batch]) -> list[np.ndarray]:
    """Step costs of the valid candidates of each batch, (N,H) each."""
    found = [(batch.evaluation.step_cost.numpy(), batch.evaluation.valid.numpy()) for batch in batches]
    return [cost[valid] for cost, valid in found]


def play(resolved: Resolved, index: int) -> Generator[Step, None, Played]:
    """One episode; counts the hopeless steps of every plan. See `agent.rollouts.jobs.Player`."""
    config = resolved.config
    agent, world = player.wired(resolved)
    kept = int(config.planner.params.get("elites", IcemParams().elites))
    some = whole = 0

    def witness(_: int, decision: Decision) -> None:
        nonlocal some, whole
        assert decision.plan.population is not None
        costs = _costs(decision.plan.population.batches)
        some += spared(costs, kept, -config.cost.task)
        whole += sum(cost.size for cost in costs)

    played = yield from player.played(agent, world, config, index, witness)
    return Watched(**vars(played), spared=some, simulated=whole)


def cases(tasks: Sequence[str], seeds: int, threads: int, budget: int) -> list[experiment.Case]:
    """Episodes of 1,000 frames (the environment's own limit). Raises TelosError for a task with guardrails."""
    found = []
    for seed in range(seeds):
        for task in tasks:
            config = planners.configured(task, planners.DEFAULT, seed, threads, budget, None)
            if config.guardrails:
                raise TelosError("--tasks", f"{task}, whose preset has guardrails", "tasks whose presets have none")
            labels = {"task": f"dm_control/{task}-v0", "seed": seed, "budget": budget}
            found.append(experiment.Case(labels, config, PLAYER))
    return found


def share(played: Played) -> Mapping[str, float]:
    """The extra field of a row: the share of steps that could be saved."""
    assert isinstance(played, Watched)
    return {"spared": played.spared / played.simulated}


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| task | steps of candidates that could be spared, at most | physics steps / decision | seed |",
        "|---|---|---|---|",
    ]
    for row in found:
        spent = f"{row['model_steps_per_decision']:,.0f}"
        lines.append(f"| {name_of(row['task'])} | {row['spared']:.1%} | {spent} | {row['seed']} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = experiment.parser("hopeless", __doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=rows.count, default=1)
    parser.add_argument("--budget", type=rows.count, default=5_000, help="physics steps per decision")
    options = parser.parse_args(argv)
    if not options.table:
        todo = cases(planners.named(options.tasks), options.seeds, experiment.threads(options), options.budget)
        with experiment.rollouts(options) as rollouts:
            experiment.measure(todo, options.out, rollouts, share)
    print(table(rows.read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
