"""What could be spared by ending candidates that cannot win any more, at most.

    telos bench hopeless              measure what is missing, then print the table
    telos bench hopeless --table

A candidate is hopeless once its cost so far, with the least that every step left can cost, is above that of the last
candidate that the search goes on with. Which one that is, is known in hindsight alone, and is taken here from all
candidates of the plan so far, which are more than those that compete: so no rule that never gives up a candidate which
would have been kept can spare more. The least cost is minus the weight of the task's reward, which is at most 1;
residuals cost at least 0. Planned by the default presets of tasks without guardrails, as those decide before costs do.
Rows go to `runs/bench/hopeless.jsonl` as they come.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    """An episode, and what it could have spared."""

    spared: int = 0  # control steps of candidates
    simulated: int = 0


def spared(costs: Sequence[np.ndarray], kept: int, least: float) -> int:
    """Control steps of hopeless candidates, of costs (N,H) of one batch of a plan after the other.

    Args:
        kept: candidates that the search goes on with after each batch.
        least: that a step can cost.
    """
    found, totals = 0, np.zeros(0)
    for cost in costs:
        totals = np.append(totals, cost.sum(1))
        if len(totals) <= kept:
            continue
        last = np.partition(totals, kept - 1)[kept - 1]
        left = np.arange(cost.shape[1] - 1, 0, -1)  # after the last step there is nothing to be spared
        hopeless = cost.cumsum(1)[:, :-1] + least * left > last + 1e-9 * (1 + abs(last))
        first = hopeless & (hopeless.cumsum(1) == 1)
        found += int((first * left).sum())
    return found


def _costs(batches: Sequence[Batch]) -> list[np.ndarray]:
    """(N,H) each, of those that are valid."""
    found = [(batch.evaluation.step_cost.numpy(), batch.evaluation.valid.numpy()) for batch in batches]
    return [cost[valid] for cost, valid in found]


def play(resolved: Resolved, index: int) -> Generator[Step, None, Played]:
    """One episode of which every plan is looked at; see `agent.rollouts.jobs.Player`."""
    config = resolved.config
    agent, env, monitor = player.wired(resolved)
    kept = int(config.planner.params.get("elites", IcemParams().elites))
    some = whole = 0
    with closing(player.played(agent, env, monitor, config, index)) as steps:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return Watched(**vars(end.value), spared=some, simulated=whole)
            assert agent.decision is not None
            assert agent.decision.plan.population is not None
            costs = _costs(agent.decision.plan.population.batches)
            some += spared(costs, kept, -config.cost.task)
            whole += sum(cost.size for cost in costs)
            yield step


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
    """What a row says besides the episode's own."""
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
