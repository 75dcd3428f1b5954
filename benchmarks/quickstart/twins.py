"""Does the quickstart's guardrail matter? The product and its unguarded twin, from the same starts.

    telos bench quickstart_twins          20 episodes each, then the table
    telos bench quickstart_twins --table

Rows go to `runs/bench/quickstart_twins.jsonl`. An episode is solved if the point mass is in the target (reward at
least 0.8) at the last step and was not at the first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from scipy.stats import binomtest

from agent.config.load import load
from agent.rollouts.jobs import PLAYER, Played
from agent.runs.statistics import Estimate
from benchmarks.harness import experiment, rows
from benchmarks.planners.scores import mean_return
from benchmarks.players import unguarded

OUT = rows.RESULTS / "quickstart_twins.jsonl"
TWINS = {"product": PLAYER, "unguarded": unguarded.PLAYER}
FRAMES = 400  # of an episode
SOLVED = 0.8  # reward at the last step


def cases(episodes: int, threads: int) -> list[experiment.Case]:
    """Each twin from the same starts, scored by the same monitor."""
    config = load("quickstart", overrides={"video": False, "threads": threads})
    return [
        experiment.Case({"twin": twin, "episode": index}, config, player, index)
        for index in range(episodes)
        for twin, player in TWINS.items()
    ]


def solved(played: Played) -> dict[str, Any]:
    """The extra field of a row: whether the point mass was in the target at the last step but not at the first."""
    assert played.steps is not None
    reward = played.steps.reward
    return {"solved": bool(reward[-1] >= SOLVED > reward[0])}


def table(found: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| agent | episodes | violating steps | episodes with a violation [95 %] | worst margin, m | solved | return |",
        "|---|---|---|---|---|---|---|",
    ]
    for twin in TWINS:
        mine = [row for row in found if row["twin"] == twin]
        if not mine:
            continue
        bad = sum(row["violation_steps"] > 0 for row in mine)
        returns = mean_return([row["return"] for row in mine], FRAMES)
        worst = min(float(margin) for row in mine for margin in row["min_margin"].values())  # may be "-Infinity"
        interval = binomtest(bad, len(mine)).proportion_ci(0.95, "wilson")
        lines.append(
            f"| {twin} | {len(mine)} | {sum(row['violation_steps'] for row in mine)} "
            f"| {bad} [{interval.low:.0%}, {interval.high:.0%}] | {worst:.4f} "
            f"| {sum(row['solved'] for row in mine)} | {_interval(returns)} |"
        )
    return "\n".join(lines)


def _interval(estimate: Estimate) -> str:
    """The mean return, with its 95 % interval if there is one."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:.1f}"
    return f"{estimate.mean:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"


def main(argv: Sequence[str] | None = None) -> int:
    parser = experiment.parser("quickstart_twins", __doc__)
    parser.add_argument("--episodes", type=rows.count, default=20)
    options = parser.parse_args(argv)
    if not options.table:
        with experiment.rollouts(options) as rollouts:
            experiment.measure(cases(options.episodes, experiment.threads(options)), options.out, rollouts, solved)
    print(table(rows.read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
