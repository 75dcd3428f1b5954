"""Does the quickstart's guardrail matter? The product and its unguarded twin, from the same starts.

    python -m benchmarks.quickstart_twins          20 episodes each, then the table
    python -m benchmarks.quickstart_twins --table

Rows go to `benchmarks/results/quickstart_twins.jsonl`. Solved: at the last step the point mass lies in
the target, which is where the task's reward is at least 0.8, and at the first step it did not.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest

from agent import build, episode, statistics
from agent.load import load
from benchmarks import rows
from benchmarks.unguarded import unguarded_agent

OUT = rows.RESULTS / "quickstart_twins.jsonl"
TWINS = ("product", "unguarded")
SOLVED = 0.8  # reward at the last step


def measure(twin: str, index: int) -> dict[str, Any]:
    """One episode of one twin, scored by the same monitor."""
    config = load("quickstart")
    env = build.environment(config)
    try:
        make = unguarded_agent if twin == "unguarded" else build_product
        judge = build.monitor(config, env)
        result = episode.run(make(config, env), env, judge, config.seed, index, config.frames)
    finally:
        env.close()
    return {
        "twin": twin,
        "episode": index,
        "reset_seed": result.seed,
        "return": result.total,
        "violation_steps": sum(step.violated for step in result.steps),
        "min_margin": min(float(step.margin.min()) for step in result.steps),
        "interventions": sum(step.intervened for step in result.steps),
        "solved": result.steps[-1].reward >= SOLVED and result.steps[0].reward < SOLVED,
        "frames": len(result.steps),
        "guardrails_sha256": judge.digest,
    }


def build_product(config: Any, env: Any) -> Any:
    """The agent as shipped."""
    return build.agent(config, env.task, env.interface)


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
        interval = binomtest(bad, len(mine)).proportion_ci(0.95, "wilson")
        estimate = statistics.mean([row["return"] for row in mine])
        lines.append(
            f"| {twin} | {len(mine)} | {sum(row['violation_steps'] for row in mine)} "
            f"| {bad} [{interval.low:.0%}, {interval.high:.0%}] | {min(row['min_margin'] for row in mine):.4f} "
            f"| {sum(row['solved'] for row in mine)} | {estimate.mean:.1f} [{estimate.low:.1f}, {estimate.high:.1f}] |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        for index in range(options.episodes):
            for twin in TWINS:
                if (twin, index) in rows.done(rows.read(options.out), ("twin", "episode")):
                    continue
                row = measure(twin, index)
                rows.append(options.out, row)
                steps, total = row["violation_steps"], row["return"]
                print(f"{twin} {index}: {steps} violating steps, return {total:.1f}", flush=True)
    print(table(rows.read(options.out)))


if __name__ == "__main__":
    main()
