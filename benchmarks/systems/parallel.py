"""The speed-up from workers: the same episodes serially, and on one and two Ray workers, in alternating blocks.

    telos bench parallel                     measure what is missing, then print the table
    telos bench parallel --table

A block is `--block` episodes of the task's default preset. Episodes are shortened in one of two ways: cut after
`--frames` control steps, or whole but with only `--evaluations` candidates per decision. In both, costs besides
planning have a larger share than in a whole episode of the preset. A block's clock starts after the workers have
started and played one episode each. Rows go to `runs/bench/parallel.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import torch

from agent.config.config import Config
from agent.config.load import load
from agent.rollouts.interrupts import interrupts
from agent.rollouts.jobs import Job, Outcome, Rollouts
from agent.rollouts.parcel import sealed
from agent.rollouts.ray import RayRollouts
from agent.rollouts.rollouts import rollouts_for
from agent.rollouts.row import TIMES
from benchmarks.harness import rows
from envs.errors import TelosError

OUT = rows.RESULTS / "parallel.jsonl"
TASKS = ("cartpole-swingup", "walker-walk")
ARRANGEMENTS = {  # name -> workers, threads of each process
    "serial, 1 thread": (None, 1),
    "serial, 2 threads": (None, 2),
    "1 worker": (1, 1),
    "2 workers": (2, 1),
}
EPISODES = 40  # of each task and arrangement


def shortened(name: str, frames: int, evaluations: int | None) -> Config:
    """The task's default preset, cut after `frames`; keeps the preset's budget if `evaluations` is None."""
    budget = {} if evaluations is None else {"planner.budget.evaluations": evaluations}
    return load(
        task=f"dm_control/{name}-v0",
        overrides={"episodes": EPISODES, "frames": frames, "video": False, **budget},
    )


def measure(config: Config, arrangement: str, block: int, size: int) -> tuple[float, str]:
    """Seconds of one block of episodes, and a digest of their rows."""
    workers, threads = ARRANGEMENTS[arrangement]
    parcel = sealed(config.model_copy(update={"threads": threads}))
    with rollouts_for(workers, None, threads) as rollouts, interrupts() as stop:
        if isinstance(rollouts, RayRollouts):
            rollouts.muster()
        _play(rollouts, [Job(parcel, EPISODES + index) for index in range(workers or 1)], stop)
        began = time.perf_counter()
        found = _play(rollouts, [Job(parcel, block * size + index) for index in range(size)], stop)
        return time.perf_counter() - began, _digest(found)


def _play(rollouts: Rollouts, jobs: Sequence[Job], stop: Callable[[], bool]) -> list[Outcome]:
    notices: list[str] = []
    with closing(
        rollouts.run(jobs, lambda event: notices.append(str(event)) if isinstance(event, str) else None, stop)
    ) as all_:
        found = list(all_)
    if len(found) < len(jobs):
        raise KeyboardInterrupt("the same command goes on with this block")
    if notices:
        raise TelosError("benchmark", f"a disturbed run ({notices[0]})", "one in which no worker is lost")
    return found


def _digest(outcomes: Sequence[Outcome]) -> str:
    """SHA-256 of everything in the rows that does not depend on the clock."""
    digest = hashlib.sha256()
    for outcome in sorted(outcomes, key=lambda outcome: outcome.job.episode):
        row = outcome.played.row.values()
        digest.update(json.dumps({name: value for name, value in row.items() if name not in TIMES}).encode())
    return digest.hexdigest()


def table(found: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; ratios are of sums over all blocks, with the range over single blocks."""
    lines = [
        "| task | episodes × frames | candidates per decision | "
        + " | ".join(f"{name}, s" for name in ARRANGEMENTS)
        + " | 2 workers, speed-up over 1 thread [blocks] | over 2 threads [blocks] | 1 worker, overhead [blocks] "
        "| rows the same |",
        "|---|---|---|" + "---|" * (len(ARRANGEMENTS) + 4),
    ]
    settings = {(row["task"], row["episodes"], row["frames"], row["evaluations"]): None for row in found}
    for task, size, frames, evaluations in settings:
        key = (task, size, frames, evaluations)
        mine = [row for row in found if (row["task"], row["episodes"], row["frames"], row["evaluations"]) == key]
        times = {a: {row["block"]: row["seconds"] for row in mine if row["arrangement"] == a} for a in ARRANGEMENTS}
        blocks = sorted(set.intersection(*(set(by.keys()) for by in times.values())))
        if not blocks:
            continue
        sums = {a: sum(times[a][block] for block in blocks) for a in ARRANGEMENTS}
        digests = {block: {row["rows_sha256"] for row in mine if row["block"] == block} for block in blocks}
        ratios = [
            _ratio(times, blocks, "serial, 1 thread", "2 workers", "{:.2f}"),
            _ratio(times, blocks, "serial, 2 threads", "2 workers", "{:.2f}"),
            _ratio(times, blocks, "1 worker", "serial, 1 thread", "{:+.1%}", less=1.0),
        ]
        lines.append(
            f"| {task.removeprefix('dm_control/').removesuffix('-v0')} | {len(blocks) * size} × {frames} "
            f"| {evaluations} | "
            + " | ".join(f"{sums[a]:.1f}" for a in ARRANGEMENTS)
            + f" | {' | '.join(ratios)} | {'yes' if all(len(d) == 1 for d in digests.values()) else 'NO'} |"
        )
    return "\n".join(lines)


def _ratio(
    times: dict[str, dict[int, float]], blocks: Sequence[int], above: str, below: str, shape: str, less: float = 0.0
) -> str:
    """The ratio of two arrangements' seconds minus `less`: of the sums, and the least and largest of a block."""
    each = [times[above][block] / times[below][block] - less for block in blocks]
    whole = sum(times[above][b] for b in blocks) / sum(times[below][b] for b in blocks) - less
    return f"{shape.format(whole)} [{shape.format(min(each))}, {shape.format(max(each))}]"


def main(argv: Sequence[str] | None = None) -> int:
    parser = rows.parser("parallel", __doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=TASKS)
    parser.add_argument("--frames", type=rows.count, default=40)
    parser.add_argument("--evaluations", type=rows.count, help="candidates per decision; the preset's own by default")
    parser.add_argument("--block", type=rows.count, default=10, help="episodes of a block; they divide 40")
    options = parser.parse_args(argv)
    if EPISODES % options.block:
        raise TelosError("--block", options.block, f"a divisor of {EPISODES}")
    torch.set_num_threads(1)
    labels = ("task", "arrangement", "block", "episodes", "frames", "evaluations")
    for block in range(0 if options.table else EPISODES // options.block):
        for name in options.tasks:
            config = shortened(name, options.frames, options.evaluations)
            evaluations = config.planner.budget.evaluations
            for arrangement in ARRANGEMENTS:
                values = (config.task, arrangement, block, options.block, options.frames, evaluations)
                if values in rows.done(rows.read(options.out), labels):
                    continue
                seconds, digest = measure(config, arrangement, block, options.block)
                rows.append(
                    options.out,
                    {**dict(zip(labels, values, strict=True)), "seconds": round(seconds, 4), "rows_sha256": digest},
                )
                print(f"{name}, {arrangement}, block {block}: {seconds:.1f} s", file=sys.stderr, flush=True)
    print(table(rows.read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
