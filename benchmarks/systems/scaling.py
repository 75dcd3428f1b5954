"""How many workers one driver can serve: its measured cost per episode, and a simulation of larger clusters.

    telos bench scaling                 measure here, then simulate and print the tables
    telos bench scaling --simulate      simulate from the rows that are there

Measurements use trivial episodes (`players.trivial`), which cost the worker little. The driver does the same for each
as for a real one: it hands out the episode, receives ticks and the outcome, and writes steps and row with fsync.
Episodes run first at full speed, with a growing number of workers; then paced at half a second each, with more workers
than this machine has CPUs; then at ten seconds each, which produces ticks. A last measurement times one turn of the
driver's loop over many silent workers. "Busy" is the CPU time of the driver's main thread plus its time in writing.

The model: W workers play episodes of T seconds each. The driver works in turns. In each turn it polls all workers
(`scan` seconds each), serves those that have finished (`service` seconds per outcome), then hands out their next
episodes, which begin `latency` seconds later. Ticks take a share of its time. `service`, `tick` and `scan` come from
the rows of their kind, and `latency` from the paced row of one worker; the other paced rows are predicted, not fitted.
The model leaves out the network, over which the driver would fetch outcomes one after another; Ray's own head process;
and the start. Above MOST workers ticks become rare and the driver asks workers for signs of life; the model leaves that
out too, so the tables end there. Efficiency is the share of time in which workers play.
"""

from __future__ import annotations

import heapq
import pickle
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from agent.config.config import Config
from agent.config.load import load
from agent.rollouts.jobs import Job, Tick
from agent.rollouts.parcel import sealed
from agent.rollouts.ray import TICK, TICKS, RayRollouts, _Run, _Worker
from agent.runs.manifest import manifest_of
from agent.runs.rundir import RunDir
from benchmarks.harness import rows
from benchmarks.players import trivial
from envs.errors import TelosError

OUT = rows.RESULTS / "scaling.jsonl"
FRAMES = (100, 1_000)  # of the episodes at full speed
PACED_FRAMES = 1_000  # half a second at trivial.PACE
MOST = 1_500  # workers; the model does not hold for more
FAST_WORKERS = (1, 2, 4)
PACED_WORKERS = (1, 2, 4, 8, 16)
EPISODE_SECONDS = (1.0, 10.0, 60.0, 150.0)  # 150: a whole cartpole-swingup episode on one thread
SILENT = 1_024  # workers without messages
EFFICIENCY = 0.95
PLAYERS = {  # player -> name in the table, s per step
    "play": ("as fast as they come", 0.0),
    "paced": ("paced", trivial.PACE),
    "slow": ("slow, with ticks", trivial.SLOW_PACE),
}


def config_of(frames: int) -> Config:
    """A configuration with one guardrail, for any player."""
    rail = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -1.0, "upper": 1.0, "unit": "m"}
    return load(
        task="dm_control/cartpole-swingup-v0",
        overrides={"frames": frames, "episodes": 100_000, "video": False, "guardrails": [{**rail, "scale": 0.1}]},
    )


def measure(rollouts: RayRollouts, player: str, frames: int, count: int, folder: Path) -> dict[str, Any]:
    """Time `count` episodes written to a run directory, as a row; every worker plays once before the clock starts."""
    config = config_of(frames)
    parcel = sealed(config)
    rundir = RunDir.create(
        folder / f"{player.rpartition(':')[2]}-{frames}-{rollouts.workers}", config, manifest_of(config)
    )
    rollouts.muster()
    warm = [Job(parcel, index, trivial.PACED) for index in range(rollouts.workers)]
    list(rollouts.run(warm, lambda event: None, lambda: False))
    ticks: list[Tick] = []
    writing, last = 0.0, None
    jobs = [Job(parcel, len(warm) + index, player) for index in range(count)]
    wall, main, process = time.perf_counter(), time.thread_time(), time.process_time()
    with closing(
        rollouts.run(jobs, lambda event: ticks.append(event) if isinstance(event, Tick) else None, lambda: False)
    ) as all_:
        for outcome in all_:
            assert outcome.played.steps is not None
            clock, spent = time.perf_counter(), time.thread_time()
            rundir.record(outcome.played.row, outcome.played.steps)
            writing += (time.perf_counter() - clock) - (time.thread_time() - spent)
            last = outcome.played
    seconds = time.perf_counter() - wall
    busy = time.thread_time() - main + writing
    steps_bytes = rundir.steps_file(jobs[-1].episode).stat().st_size
    return {
        "player": player.rpartition(":")[2],
        "workers": rollouts.workers,
        "frames": frames,
        "episodes": count,
        "seconds": round(seconds, 4),
        "driver_busy_seconds": round(busy, 4),  # main thread: computing or writing
        "driver_process_seconds": round(time.process_time() - process, 4),  # CPU time, including Ray's threads
        "writing_seconds": round(writing, 4),  # off the CPU: waiting for the disk or for a CPU
        "ticks": len(ticks),
        "outcome_bytes": len(pickle.dumps(last)),
        "parcel_bytes": len(pickle.dumps(parcel)),
        "row_bytes": (rundir.path / "episodes.jsonl").stat().st_size // count,
        "steps_bytes": steps_bytes,
    }


def scanned(rollouts: RayRollouts) -> dict[str, Any]:
    """Time one turn of the driver over SILENT workers, of which only the first plays, as a row."""
    ray: Any = import_module("ray")
    rollouts.muster()
    (worker,) = rollouts._staff
    job = Job(sealed(config_of(max(FRAMES))), 0, trivial.SLOW)
    parcel, now = ray.put(job.parcel), time.monotonic()
    streams = [  # all on one actor: the first plays, the others wait for it
        worker.actor.play.options(num_returns="streaming").remote(parcel, job.parcel.sha256, 0, job.player, index)
        for index in range(SILENT)
    ]
    rollouts._staff = [_Worker(index, worker.actor, None, job, stream, now) for index, stream in enumerate(streams)]
    run = _Run(iter(()), lambda event: None)
    repeats, clock = 20, time.thread_time()
    for _ in range(repeats):
        rollouts._ready(list(rollouts._pending()))
        rollouts._look_after(run)
    return {"player": "none", "workers": SILENT, "scan_seconds": (time.thread_time() - clock) / repeats}


def measured() -> list[dict[str, Any]]:
    """All rows of this machine, on a one-node cluster that declares more CPUs than exist; paced workers only sleep."""
    import os

    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    from ray.cluster_utils import Cluster

    found = []
    head = {"num_cpus": max(PACED_WORKERS), "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        with tempfile.TemporaryDirectory(prefix="telos-scaling-") as folder:
            for workers in PACED_WORKERS:
                with closing(RayRollouts(workers, 1, cluster.address)) as rollouts:
                    if workers in FAST_WORKERS:
                        for frames in FRAMES:
                            found.append(measure(rollouts, trivial.PLAYER, frames, 200, Path(folder)))
                            print(found[-1], file=sys.stderr, flush=True)
                    found.append(measure(rollouts, trivial.PACED, PACED_FRAMES, 40 * workers, Path(folder)))
                    print(found[-1], file=sys.stderr, flush=True)
                    if workers == max(PACED_WORKERS):
                        found.append(measure(rollouts, trivial.SLOW, max(FRAMES), 2 * workers, Path(folder)))
                        print(found[-1], file=sys.stderr, flush=True)
            with closing(RayRollouts(1, 1, cluster.address)) as rollouts:
                found.append(scanned(rollouts))
                print(found[-1], file=sys.stderr, flush=True)
    finally:
        cluster.shutdown()
    return found


@dataclass(frozen=True)
class Costs:
    """The parameters of the model, s."""

    service: float  # the driver's time per outcome of 1,000 frames, including writing steps and row with fsync
    tick: float  # the driver's time per tick
    scan: float  # the driver's time per poll of one worker
    latency: float  # the worker's wait from its served outcome to its next episode


def costs(found: Sequence[dict[str, Any]]) -> Costs:
    """The model's parameters from the measured rows; `service` is the median of the full-speed rows."""

    def busy(row: dict[str, Any]) -> float:
        return row["driver_busy_seconds"] / row["episodes"]

    fast = [row for row in found if row["player"] == "play" and row["frames"] == max(FRAMES)]
    service = float(np.median([busy(row) for row in fast]))
    (ticking,) = (row for row in found if row["player"] == "slow")
    tick = max(0.0, ticking["driver_busy_seconds"] - ticking["episodes"] * service) / ticking["ticks"]
    (alone,) = (row for row in found if row["player"] == "paced" and row["workers"] == 1)
    latency = alone["seconds"] / alone["episodes"] - alone["frames"] * trivial.PACE - busy(alone)
    (silent,) = (row for row in found if row["player"] == "none")
    return Costs(service, tick, silent["scan_seconds"] / silent["workers"], max(0.0, latency))


@dataclass(frozen=True)
class Load:
    """The results of a simulated cluster."""

    rate: float  # episodes/s
    utilisation: float  # share of time in which the driver works
    efficiency: float  # share of time in which workers play


def simulated(workers: int, episode: float, cost: Costs) -> Load:
    """Discrete-event simulation; a warm-up phase is not counted.

    Args:
        workers: W; each worker begins at a random point of an episode.
        episode: T, s; the length of each episode varies by up to 10 %.
        cost: the model's parameters.
    """
    rng = np.random.default_rng(workers)
    ends = rng.uniform(0, episode, workers).tolist()  # when each worker's episode ends
    heapq.heapify(ends)
    # Ticks are many and small, so they are modelled as a share of the driver's time, not as events.
    ticking = min(workers / TICK, TICKS) * cost.tick
    service, scan = cost.service / (1 - ticking), workers * cost.scan / (1 - ticking)
    now = began = busy = 0.0
    served, first, warm, total = 0, 0, 3 * workers, 13 * workers
    while served < total:
        if served < warm:
            began, first, busy = now, served, 0.0
        looked = now = max(now, ends[0]) + scan
        count = 0
        while ends and ends[0] <= looked:
            heapq.heappop(ends)
            count += 1
        now, busy, served = now + count * service, busy + scan + count * service, served + count
        for length in episode * rng.uniform(0.9, 1.1, count):  # handed out after all outcomes of this turn
            heapq.heappush(ends, now + cost.latency + length)
    rate = (served - first) / (now - began)
    utilisation = min(1.0, busy * (1 - ticking) / (now - began) + ticking)
    return Load(rate, utilisation, min(1.0, rate * episode / workers))


def largest(episode: float, cost: Costs) -> int:
    """The most workers, up to MOST, that one driver serves at `EFFICIENCY`, by bisection; 0 if one is too many."""
    good, bad = 0, MOST + 1
    if simulated(MOST, episode, cost).efficiency >= EFFICIENCY:
        return MOST
    while bad - good > max(1, good // 50):
        middle = (good + bad) // 2
        if simulated(middle, episode, cost).efficiency >= EFFICIENCY:
            good = middle
        else:
            bad = middle
    return good


def table(found: list[dict[str, Any]]) -> str:
    """Markdown tables of the measurements beside the model's predictions, and of simulated larger clusters."""
    cost = costs(found)
    lines = [
        "| episodes | workers | frames | episodes/s = rows/s | driver busy | driver, ms per episode "
        "| outcomes, kB/s | log and steps, kB/s | predicted episodes/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    played = [row for row in found if row["player"] != "none"]
    for row in played:
        rate, each = row["episodes"] / row["seconds"], row["driver_busy_seconds"] / row["episodes"]
        name, pace = PLAYERS[row["player"]]
        expected = simulated(row["workers"], row["frames"] * pace, cost).rate if pace else None
        lines.append(
            f"| {name} | {row['workers']} | {row['frames']} | {rate:.1f} "
            f"| {row['driver_busy_seconds'] / row['seconds']:.0%} | {1e3 * each:.1f} "
            f"| {rate * row['outcome_bytes'] / 1e3:,.0f} "
            f"| {rate * (row['row_bytes'] + row['steps_bytes']) / 1e3:,.0f} "
            f"| {'' if expected is None else f'{expected:.1f}'} |"
        )
    whole = max(played, key=lambda row: (row["frames"], -row["workers"]))
    lines += [
        "",
        f"One driver needs {1e3 * cost.service:.1f} ms for an episode of 1,000 frames, {1e3 * cost.tick:.2f} ms for a "
        f"tick, and {1e6 * cost.scan:.1f} µs to look at a worker, which waits {1e3 * cost.latency:.0f} ms more for its "
        f"next episode: alone with that, it would saturate at {1 / cost.service:.0f} episodes/s. Simulated, at "
        f"{EFFICIENCY:.0%} efficiency and up to {MOST:,} workers:",
        "",
        "| an episode takes | largest cluster of one driver, workers | its episodes/s | driver busy "
        "| outcomes, MB/s | log and steps, MB/s | efficiency with twice as many workers |",
        "|---|---|---|---|---|---|---|",
    ]
    for episode in EPISODE_SECONDS:
        most = largest(episode, cost)
        there = simulated(most, episode, cost)
        rate = there.rate
        lines.append(
            f"| {episode:g} s | {most:,}{' or more' if most == MOST else ''} | {rate:.1f} | {there.utilisation:.0%} "
            f"| {rate * whole['outcome_bytes'] / 1e6:.2f} "
            f"| {rate * (whole['row_bytes'] + whole['steps_bytes']) / 1e6:.2f} "
            f"| {simulated(2 * most, episode, cost).efficiency:.0%} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = rows.parser("scaling", __doc__)
    parser.add_argument("--simulate", dest="table", action="store_true", help="the same: simulate, measure nothing")
    options = parser.parse_args(argv)
    if not options.table:
        found = measured()
        options.out.unlink(missing_ok=True)
        for row in found:
            rows.append(options.out, row)
    found = rows.read(options.out)
    if not found:
        raise TelosError(f"--out {options.out}", "no rows", "those that `telos bench scaling` has measured")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
