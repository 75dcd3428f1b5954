"""Rewards: 100,000 environment frames of 21 dm_control tasks, from observations, with one recipe for all of them.

    telos bench worldmodels --only rewards                          measure what is missing, then print the table
    telos bench worldmodels --only rewards --tasks walker-walk --seeds 0..2

A training is the recipe `rewards` with this task and seed, and nothing else changes. It is kept under `--work`, from
where a run that was interrupted goes on. Every one ends with 10 episodes from held-out starts, by the policy alone and
by the planner in the learned model. A row has the whole learning curve.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.learning import recipe
from agent.learning.floors import measured
from agent.learning.prepare import prepared
from agent.learning.train import Training
from agent.learning.traindir import TrainDir, is_training
from agent.reports.training import trained_numbers
from agent.runs import statistics
from agent.runs.manifest import digest
from benchmarks.harness import rows
from benchmarks.planners.planners import SUITE
from worldmodels.checkpoint import Checkpoint

OUT = rows.RESULTS / "worldmodels" / "rewards.jsonl"
WORK = rows.HERE / "rewards"
ANCHOR = rows.ANCHORS / "dm_control_100k.csv"
RECIPE = "rewards"
KEYS = ("task", "seed", "recipe_sha256")


def measure(out: Path, tasks: Sequence[str], seeds: Iterable[int], work: Path, more: Mapping[str, Any]) -> None:
    """Append the rows that are missing, one for each task and seed."""
    for seed in seeds:
        for task in tasks:
            asked = recipe.load(RECIPE, {**more, "task": f"dm_control/{task}-v0", "seed": seed})
            sha256 = digest(asked.model_dump(mode="json"))
            if (task, seed, sha256) in rows.done(rows.read(out), KEYS):
                continue
            path = work / f"{task}-seed{seed}-{sha256[:8]}"
            if not is_training(path):
                prepared(asked, path)
            found = trained(path)
            rows.append(out, {"task": task, "seed": seed, "recipe_sha256": sha256, **found})
            print(task, seed, {name: round(one["mean"], 1) for name, one in found["returns"].items()}, flush=True)


def trained(path: Path) -> dict[str, Any]:
    """The outcome of a training, which begins or goes on here."""
    training = Training(TrainDir.open(path))
    floors = measured(training.folder, training, print, lambda: False)
    assert floors is not None, "nobody stops it"
    while not training.finished:
        training.cycle()
    training.world.env.close()
    curve = training.folder.lines("curve")
    last = curve[-1]
    returns = {one["by"]: _short(one) for one in last["returns"]}
    return {
        "returns": {**returns, "random": _short(floors["returns"]["random"])},
        "curve": [[row["frames"], {one["by"]: _short(one)["mean"] for one in row["returns"]}] for row in curve],
        "frames": last["frames"],
        "decisions": last["frames"] // training.random.hold,
        "updates": {"model": last["updates"], **last["head_updates"]},
        "parameters": trained_numbers(Checkpoint.read(path)),
        "seconds": last["seconds"],
        "usable_steps": last["health"]["usable"],
        "model_sha256": last["model_sha256"],
        "threads": torch.get_num_threads(),
    }


def _short(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"mean": one["mean"]["mean"], "each": list(one["each"]), "decision_ms": one["decision_ms"]}


def anchors() -> dict[str, float]:
    """Task, or what is averaged -> the best published return at 100,000 frames."""
    with ANCHOR.open(newline="", encoding="utf-8") as file:
        return {row["task"]: float(row["best_at_100k_frames"]) for row in csv.DictReader(file)}


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table, the newest recipe of each task and seed, and the mean over tasks."""
    best, newest = anchors(), {(row["task"], row["seed"]): row for row in found}
    lines = [
        "| task | seeds | planner | 95 % | policy alone | random | best published at 100,000 frames | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    means: dict[str, list[float]] = {"planner": [], "policy": []}
    for task in SUITE:
        mine = [row for (name, _), row in newest.items() if name == task]
        if not mine:
            continue
        each = {name: [row["returns"][name]["mean"] for row in mine] for name in ("planner", "policy", "random")}
        whole = statistics.mean(each["planner"] if len(mine) > 1 else mine[0]["returns"]["planner"]["each"])
        for name, values in means.items():
            values.append(float(np.mean(each[name])))
        minutes = (
            max(row["seconds"]["env"] + row["seconds"]["update"] + row["seconds"]["evaluate"] for row in mine) / 60
        )
        cells = [
            task,
            str(len(mine)),
            f"**{np.mean(each['planner']):.0f}**",
            "–" if whole.low is None else f"{whole.low:.0f} to {whole.high:.0f}",
            f"{np.mean(each['policy']):.0f}",
            f"{np.mean(each['random']):.0f}",
            f"{best[task]:.0f}" if task in best else "–",
            f"{minutes:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    number = len(means["planner"])
    if number:
        planner, policy = (f"{np.mean(means[name]):.0f}" for name in ("planner", "policy"))
        lines.append(f"| mean of {number} of {len(SUITE)} tasks | | **{planner}** | | {policy} | | | |")
    return "\n".join(lines)
