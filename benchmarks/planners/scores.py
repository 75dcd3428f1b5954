"""Statistics of the rows of `telos bench planners`: returns with intervals, normalised scores, performance profiles."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from agent.config.load import preset_of, tuned_seeds
from agent.runs import statistics
from agent.runs.statistics import Estimate
from benchmarks.harness import rows

REFERENCE = "tdmpc2"
RANDOM = "random"
FRESH = range(100, 105)  # seeds on which no preset was tuned
FRAMES = 1_000  # of an episode, each with a reward in [0,1]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """Published results for one task: each method's value after its largest number of frames."""

    values: Mapping[str, float]  # method -> mean return

    @property
    def best(self) -> float:
        return max(self.values.values())


@cache
def published() -> Mapping[str, Published]:
    """Published results by task, from the anchors."""
    last: dict[tuple[str, str], tuple[int, float]] = {}
    with (rows.ANCHORS / "dm_control_returns.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key, frames = (row["task"], row["method"]), int(row["env_frames"])
            if key not in last or frames > last[key][0]:
                last[key] = frames, float(row["mean_return"])
    tasks = dict.fromkeys(task for task, _ in last)
    return {t: Published({method: value for (task, method), (_, value) in last.items() if task == t}) for t in tasks}


@dataclass(frozen=True)
class Cell:
    """One planner on one task."""

    planner: str
    label: str  # the planner, with its settings if some task has rows of several settings
    task: str
    budget: int  # physics steps per decision allowed
    match: str  # steps or time
    threads: int
    seeds: tuple[int, ...]
    returns: tuple[float, ...]  # by seed
    physics_steps: float  # per decision
    # Times leave out fresh seeds if there are others: episodes of fresh seeds shared the machine with other work.
    median_ms: float  # of the episodes' medians
    p95_ms: float  # the largest of the episodes' 95th percentiles
    in_simulator: float  # share of planning time inside the simulator
    violations: int  # steps

    @property
    def estimate(self) -> Estimate:
        return mean_return(self.returns)

    @property
    def fresh(self) -> tuple[float, ...]:
        """The returns on seeds that the task's preset was not tuned on."""
        return self._of(chosen=False)

    @property
    def tuned(self) -> tuple[float, ...]:
        """The returns on the seeds that the task's preset was tuned on."""
        return self._of(chosen=True)

    def _of(self, chosen: bool) -> tuple[float, ...]:
        tuned = tuned_seeds(preset_of(f"dm_control/{self.task}-v0"))
        return tuple(value for seed, value in zip(self.seeds, self.returns, strict=True) if (seed in tuned) == chosen)


def mean_return(returns: Sequence[float], frames: int = FRAMES) -> Estimate:
    """The mean return of one task whose rewards lie in [0,1], over episodes of so many frames (ADR 13)."""
    return statistics.bounded_mean(returns, 0.0, frames) if len(returns) > 1 else statistics.mean(returns)


def name_of(task_id: str) -> str:
    """The task's name in the anchors."""
    return task_id.removeprefix("dm_control/").removesuffix("-v0")


def cells(found: Sequence[Row]) -> list[Cell]:
    """One cell for every planner, task, budget, match and number of threads that has rows, in the rows' order."""
    groups: dict[tuple[str, str, int, str, int], list[Row]] = {}
    for row in found:
        key = row["planner"], name_of(row["task"]), row["budget"], row["match"], row["threads"]
        groups.setdefault(key, []).append(row)
    once = Counter((planner, task, match) for planner, task, _, match, _ in groups)
    several = {planner for (planner, _, _), count in once.items() if count > 1}
    made = []
    for (planner, task, budget, match, threads), mine in groups.items():
        by_seed = sorted(mine, key=lambda row: row["seed"])
        steps = float(np.mean([row["model_steps_per_decision"] for row in mine]))
        timed = [row for row in mine if row["seed"] < FRESH.start] or mine
        setting = f" ({budget:,} steps, threads: {threads})" if planner in several and steps > 0 else ""
        cell = Cell(
            *(planner, f"{planner}{setting}", task, budget, match, threads),
            tuple(row["seed"] for row in by_seed),
            tuple(row["return"] for row in by_seed),
            steps,
            float(np.median([row["plan_ms_median"] for row in timed])),
            float(np.max([row["plan_ms_p95"] for row in timed])),
            float(np.mean([row["simulator_fraction"] for row in timed])),
            sum(row["violation_steps"] for row in mine),
        )
        made.append(cell)
    return made


def normalised(cell: Cell, all_: Sequence[Cell], returns: Sequence[float] | None = None) -> np.ndarray:
    """Normalised scores of a cell's episodes, or of `returns` if given.

    0 is the mean return of random actions on that task, 1 the best published return. NaN if the task has no random row
    or no published return.
    """
    values = cell.returns if returns is None else returns
    if cell.task not in published():
        return np.full(len(values), np.nan)
    zero = random_return(cell.task, all_)
    return (np.array(values) - zero) / (published()[cell.task].best - zero)


def random_return(task: str, all_: Sequence[Cell]) -> float:
    """The mean return of random actions on a task; NaN if there is no such row."""
    found = [value for cell in all_ if (cell.planner, cell.task) == (RANDOM, task) for value in cell.returns]
    return float(np.mean(found)) if found else math.nan


def profile(scores: Sequence[np.ndarray], levels: np.ndarray) -> np.ndarray:
    """The share of runs that score above each level, with equal weights of tasks (Agarwal et al. 2021, section 4.2)."""
    return np.mean([(task[:, None] > levels).mean(0) for task in scores], axis=0)


def suite_mean(found: Mapping[str, Sequence[float]]) -> tuple[Estimate, float] | None:
    """The mean over tasks, with equal weights, of one planner's mean returns, and the reference's mean on these tasks.

    Episodes of different tasks are independent, even if their seeds are the same number. None if there is no task.
    """
    if not found:
        return None
    whole = statistics.mean_of_means(list(found.values()))
    return whole, float(np.mean([published()[task].values[REFERENCE] for task in found]))


def interval(estimate: Estimate) -> str:
    """The mean return, or mean number of violating steps, with its 95 % interval if there is one.

    The interval is clipped to [0, 1000], the possible values of an episode of 1,000 frames.
    """
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:.1f}"
    return f"{estimate.mean:.1f} [{max(estimate.low, 0.0):.0f}, {min(estimate.high, FRAMES):.0f}]"
