"""Returns of the default presets on real dm_control episodes, beside random, do-nothing and published rows.

    python -m benchmarks.returns                 measure what is missing, then print the table
    python -m benchmarks.returns --table         print the table alone

Rows go to `benchmarks/results/returns.jsonl` as they come; an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import torch

from agent import build, episode, statistics
from agent.load import load
from agent.row import Steps, row_of
from benchmarks import rows, scripted
from envs.physics import cpus

TASKS = ("cartpole-swingup", "cheetah-run", "walker-walk", "reacher-easy", "ball_in_cup-catch", "finger-spin")
AGENTS = ("telos", "random", "do_nothing")
TARGETS = {
    "cartpole-swingup": 850.0,
    "cheetah-run": 800.0,
    "walker-walk": 970.0,
    "reacher-easy": 970.0,
    "ball_in_cup-catch": 970.0,
    "finger-spin": 900.0,
}
OUT = rows.RESULTS / "returns.jsonl"


def measure(name: str, agent_name: str, seed: int, threads: int) -> dict[str, Any]:
    """One episode of 1,000 frames (the environment's own limit) as a row; threads change its times alone."""
    config = load(task=f"dm_control/{name}-v0", overrides={"seed": seed, "threads": threads})
    env = build.environment(config)
    try:
        judge = build.monitor(config, env)
        if agent_name == "telos":
            agent = build.agent(config, env.task, env.interface)
            clock = time.perf_counter()
            result = episode.run(agent, env, judge, seed, 0)
            steps = Steps.of(result, agent.memory.episodes[-1].states[0], env.interface.control_period)
            row = json.loads(row_of(config, agent, result, steps, 0).line())
            seconds = (time.perf_counter() - clock) / len(steps)
            return {"agent": "telos", "threads": threads, "seconds_per_decision": round(seconds, 5), **row}
        script: scripted.Script = "random" if agent_name == "random" else "do_nothing"
        played = scripted.run(script, env, judge, seed, 0, env.interface.frame_limit)
        return {
            "agent": agent_name,
            "task": config.task,
            "seed": seed,
            "reset_seed": played.reset_seed,
            "env_frames": played.frames,
            "return": played.total,
            "violation_steps": played.violation_steps,
        }
    finally:
        env.close()


def published(name: str) -> str:
    """CEM on the true simulator in the PlaNet paper, from the anchors."""
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
        estimate = statistics.mean(returns["telos"])
        interval = "" if estimate.low is None else f" [{estimate.low:.0f}, {estimate.high:.0f}]"
        plain = {a: f"{sum(v) / len(v):.0f}" if v else "" for a, v in returns.items()}
        lines.append(
            f"| {name} | {TARGETS[name]:.0f} | {estimate.mean:.1f}{interval} | {min(returns['telos']):.1f} "
            f"| {len(ours)} | {plain['random']} | {plain['do_nothing']} | {published(name)} "
            f"| {max(row['physics_steps_per_decision'] for row in ours):,.0f} "
            f"+ {max(row['gate_steps_per_decision'] for row in ours):,.0f} "
            f"| {sum(row['seconds_per_decision'] for row in ours) / len(ours):.3f} "
            f"| {', '.join(sorted({str(row['threads']) for row in ours}))} "
            f"| {sum(row['simulator_fraction'] for row in ours) / len(ours):.1%} "
            f"| {sum(row['violation_steps'] for row in ours)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=TASKS)
    parser.add_argument("--agents", nargs="*", default=list(AGENTS), choices=AGENTS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cpus())
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keys = ("task", "agent", "seed")
    if not options.table:
        for seed in range(options.seeds):
            for name in options.tasks:
                for agent in options.agents:
                    if (f"dm_control/{name}-v0", agent, seed) in rows.done(rows.read(options.out), keys):
                        continue
                    row = measure(name, agent, seed, options.threads)
                    rows.append(options.out, row)
                    print(f"{name} {agent} seed {seed}: {row['return']:.1f}", flush=True)
    print(table(rows.read(options.out)))


if __name__ == "__main__":
    main()
