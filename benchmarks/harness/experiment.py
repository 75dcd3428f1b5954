"""Runs a benchmark's episodes: many configurations and players through `Rollouts`, one row each, resumable."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from agent.config.config import Config
from agent.rollouts.interrupts import interrupts
from agent.rollouts.jobs import Job, Played, Rollouts
from agent.rollouts.parcel import sealed
from agent.rollouts.progress import RunProgress
from agent.rollouts.rollouts import rollouts_for
from benchmarks.harness import rows
from envs.guardrails.ruleset import Guardrails
from envs.physics.batch import cpus

Key = tuple[str, int, str]  # what determines an episode: digest of the configuration, index, player


@dataclass(frozen=True)
class Case:
    """One episode to measure."""

    labels: Mapping[str, Any]  # fields that identify its row; they are written into it
    config: Config
    player: str
    episode: int = 0


def measure(
    cases: Sequence[Case],
    out: Path,
    rollouts: Rollouts,
    more: Callable[[Played], Mapping[str, Any]] = lambda played: {},
) -> None:
    """Run the cases that have no row in `out` yet, and append one row for each.

    A row has the episode's own fields, the digest of its configuration, the fields of `more`, and the labels. Existing
    rows whose configuration has changed since are reported on stderr.

    Raises:
        TelosError: an episode raised it.
        KeyboardInterrupt: Ctrl-C before all cases have a row.
    """
    torch.set_num_threads(1)  # planning has its own C threads
    cases = list({frozenset(case.labels.items()): case for case in cases}.values())  # drops duplicates
    there = rows.read(out)
    found = [(case, _row_of(case, there)) for case in cases]
    missing = [case for case, row in found if row is None]
    waiting: dict[Key, tuple[Job, list[Case]]] = {}  # cases with equal configurations share one episode
    for case in missing:
        job = _job(case)
        waiting.setdefault(_key(job), (job, []))[1].append(case)
    frames = max((case.config.frames or 1_000 for case in cases), default=1)
    console = Console(stderr=True)
    _point_at(console, [case for case, row in found if row is not None and not _is_of(row, case)], out)
    progress = RunProgress(console, Guardrails(), len(cases), frames, len(cases) - len(missing))
    jobs = [job for job, _ in waiting.values()]
    with interrupts() as stop, progress, closing(rollouts.run(jobs, progress.watch, stop)) as outcomes:
        for outcome in outcomes:
            of = {"config_sha256": outcome.job.parcel.sha256}
            for case in waiting.pop(_key(outcome.job))[1]:
                rows.append(out, {**outcome.played.row.values(), **of, **more(outcome.played), **case.labels})
                progress.end(outcome.played.row, " ".join(str(value) for value in case.labels.values()))
    left = sum(len(same) for _, same in waiting.values())
    if left:
        raise KeyboardInterrupt(f"{left} of {len(cases)} episodes are left; the same command goes on")


def _row_of(case: Case, there: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return next((row for row in there if case.labels.items() <= row.items()), None)


def _is_of(row: Mapping[str, Any], case: Case) -> bool:
    """Whether the row was measured with this configuration; assumed of old rows, which have no digest."""
    digest = row.get("config_sha256")
    return digest is None or digest == sealed(case.config).sha256


def _point_at(console: Console, older: Sequence[Case], out: Path) -> None:
    if not older:
        return
    first = " ".join(str(value) for value in older[0].labels.values())
    text = f"{len(older)} row(s) in {out} are of another configuration than today's, the first of {first}"
    console.print(f"{text}; with another --out they are measured again", style="yellow", markup=False, soft_wrap=True)


def _job(case: Case) -> Job:
    return Job(sealed(case.config), case.episode, case.player)


def _key(job: Job) -> Key:
    return job.parcel.sha256, job.episode, job.player


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks of episodes share."""
    made = rows.parser(name, description)
    made.add_argument(
        "--workers", type=rows.count, help="run episodes in so many processes (Ray); in this one by default"
    )
    made.add_argument("--ray", metavar="ADDRESS", help="run them on a Ray cluster that runs: HOST:PORT, or auto")
    made.add_argument("--threads", type=rows.count, help="C threads of each process; all CPUs by default, one on Ray")
    return made


def threads(options: argparse.Namespace) -> int:
    """C threads of each process."""
    return options.threads or (1 if options.ray else max(1, cpus() // (options.workers or 1)))


def rollouts(options: argparse.Namespace) -> AbstractContextManager[Rollouts]:
    """The `Rollouts` that run the episodes, chosen by the options."""
    return rollouts_for(options.workers, options.ray, threads(options))
