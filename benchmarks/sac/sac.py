"""A model-free baseline: soft actor-critic of Stable-Baselines3 on telos's own environments.

    pip install 'stable-baselines3>=2.9,<3'   the extra `sac`
    telos bench sac                           train and evaluate on two tasks, one seed, 100,000 frames each
    telos bench sac --table

A planner needs no training but computes a plan at every decision; this agent is trained for long and then decides in
one network pass. It learns in the task's real environment (observations flattened, actions in [-1,1]) with the
library's default parameters. It is evaluated without exploration in whole episodes, one from each of the starts of
`telos bench planners` under seeds 0, 1, 2, …; training uses other starts. No guardrail is enforced on it.

Frames are those of the environment, as in the anchors. TD-MPC2's results repeat each action for two frames and count
both (github.com/nicklashansen/tdmpc2, issue 45), so 100,000 frames are 50,000 decisions there, and here by default;
`--action-repeat 1` decides at every frame. Training takes one gradient step per decision; if that is too slow,
`--train-freq N` takes one per N decisions. Every row has both settings.

Training writes a checkpoint every 10,000 frames (`sac/` beside the rows); an interrupted training continues from the
last one, with the same result as without the interruption. Rows are appended to `runs/bench/sac.jsonl` after each
training.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agent import build, provenance
from agent.config.load import load
from agent.rollouts import episode
from agent.rollouts.episode import Step
from agent.rollouts.player import frame_limit
from benchmarks.harness import rows
from benchmarks.peers.peers import machine
from benchmarks.planners.scores import interval, mean_return, name_of
from benchmarks.players import scripted
from benchmarks.sac.training import CHUNK, Learner, Make, Spent, StableBaselines, Training, flat, trained
from envs import registry
from envs.judged import start

TASKS = ("dm_control/cartpole-swingup-v0", "dm_control/cheetah-run-v0")
OUT = rows.RESULTS / "planners" / "sac.jsonl"
GROUP = ("task", "frames", "action_repeat", "train_freq", "episodes")  # rows that differ only in their seed
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evaluated:
    """One whole evaluation episode of a trained policy."""

    total: float  # the environment's own return
    frames: int
    reset_seed: int
    violation_steps: int  # frames in which the monitor found a violation
    guardrails_sha256: str
    decision_ms: tuple[float, ...]  # time from observation to action, of each decision


def evaluate(learner: Learner, task: str, seed: int, action_repeat: int) -> Evaluated:
    """One episode from the start that the planners have under this seed.

    Raises:
        TelosError: the guardrails of the task's preset allow no start.
    """
    config = load(task=task, overrides={"seed": seed, "video": False})
    with closing(build.environment(config)) as env:
        monitor = build.monitor(config, env)
        observation, accepted, _ = start(env, monitor, episode.seeds_of(config.seed, 0))
        steps: list[Step] = []
        times: list[float] = []

        def act(seen: Any) -> np.ndarray:
            if len(steps) % action_repeat:
                return steps[-1].action
            clock = time.perf_counter()
            action = learner.act(flat(env.observation_space, seen))
            times.append(1e3 * (time.perf_counter() - clock))
            return action

        for _ in scripted.judged(env, monitor, observation, act, frame_limit(config, env.interface), steps):
            pass
        total, violated = float(sum(step.reward for step in steps)), sum(step.violated for step in steps)
        return Evaluated(total, len(steps), accepted, violated, monitor.guardrails.digest, tuple(times))


def row_of(training: Training, learner: Learner, spent: Spent, found: Sequence[Evaluated]) -> dict[str, Any]:
    """The row of one training: settings, time spent, and the policy's results in these episodes."""
    return {
        **labels(training, len(found)),
        "algorithm": "SAC, Stable-Baselines3",
        "decisions": training.decisions,
        "gradient_steps": learner.gradient_steps,
        "train_seconds": round(spent.wall, 1),
        "train_cpu_seconds": round(spent.cpu, 1),
        "return": float(np.mean([one.total for one in found])),
        "returns": [one.total for one in found],  # by the planners' seed, from 0
        "reset_seeds": [one.reset_seed for one in found],
        "env_frames": [one.frames for one in found],
        "violation_steps": sum(one.violation_steps for one in found),
        "guardrails_sha256": found[0].guardrails_sha256,
        "decision_ms_median": round(median(ms for one in found for ms in one.decision_ms), 4),
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "versions": {
            **provenance.versions(),
            "stable_baselines3": provenance.version("stable-baselines3") or "missing",
        },
    }


def labels(training: Training, episodes: int) -> dict[str, Any]:
    """The fields that identify a row."""
    return {**training.labels, "episodes": episodes}


def folder(training: Training, out: Path) -> Path:
    """The folder of this training's checkpoints."""
    parts = [name_of(training.task).replace("/", "-"), *(f"{k}{v}" for k, v in training.labels.items() if k != "task")]
    return out.with_suffix("") / "-".join(parts)


def measure(trainings: Sequence[Training], episodes: int, out: Path, make: Make) -> None:
    """Train and evaluate each training that has no row in `out` yet, and append its row.

    Raises:
        TelosError: `make` raised it.
        KeyboardInterrupt: Ctrl-C before all trainings have a row.
    """
    there = rows.read(out)
    missing = [t for t in trainings if not any(labels(t, episodes).items() <= row.items() for row in there)]
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("·"),
        TimeRemainingColumn(compact=True),
        console=console,
        disable=not console.is_terminal,
    )
    total = sum(training.frames for training in trainings)
    done = total - sum(training.frames for training in missing)
    with bar:
        shown = bar.add_task("", total=total, completed=done)
        for training in missing:
            name = f"{name_of(training.task)} seed {training.seed}"
            bar.update(shown, description=name)

            def watch(frames: int, name: str = name, training: Training = training, done: int = done) -> None:
                bar.update(shown, completed=done + frames)
                if frames % CHUNK == 0 and frames:
                    _say(console, f"{name}: {frames:,} of {training.frames:,} frames")

            learner, spent = trained(training, folder(training, out), make, watch)
            bar.update(shown, description=f"{name}, evaluating")
            found = [evaluate(learner, training.task, seed, training.action_repeat) for seed in range(episodes)]
            row = row_of(training, learner, spent, found)
            rows.append(out, row)
            done += training.frames
            _say(console, f"{name}: return {row['return']:.1f} after {spent.wall / 3600:.2f} h of training")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def table(found: Sequence[Row]) -> str:
    """The rows as a Markdown table, one line for each task and training setting."""
    lines = [
        "| task | frames trained | frames per action | gradient steps | training, h (of CPU) | return, mean [95 %] "
        "| worst | 95 % over | violating frames / episode | decision, ms "
        "| SAC in TD-MPC2's results (least, most of seeds) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        groups.setdefault(tuple(row[key] for key in GROUP), []).append(row)
    for (task, frames, repeat, _, episodes), mine in groups.items():
        one = len(mine) == 1
        estimate = mean_return(mine[0]["returns"] if one else [row["return"] for row in mine])
        values = (
            *(name_of(task), f"{frames:,}", str(repeat), f"{mine[0]['gradient_steps']:,}"),
            f"{_hours(mine, 'train_seconds')} ({_hours(mine, 'train_cpu_seconds')})",
            interval(estimate),
            f"{min(value for row in mine for value in row['returns']):.0f}",
            f"{episodes} starts, one training" if one else f"{len(mine)} trainings, {episodes} starts each",
            f"{np.mean([row['violation_steps'] / row['episodes'] for row in mine]):.1f}",
            f"{median(row['decision_ms_median'] for row in mine):.2f}",
            published(name_of(task), frames),
        )
        lines.append(f"| {' | '.join(values)} |")
    return "\n".join(lines)


def _hours(mine: Sequence[Row], seconds: str) -> str:
    return f"{np.mean([row[seconds] for row in mine]) / 3600:.2f}"


def published(task: str, frames: int) -> str:
    """The published return of SAC on a task (name as in the anchors) at the nearest frames; "" if there is none."""
    with (rows.ANCHORS / "dm_control_returns.csv").open(encoding="utf-8") as file:
        anchors = [row for row in csv.DictReader(file) if (row["task"], row["method"]) == (task, "sac")]
    if not anchors:
        return ""
    near = min(anchors, key=lambda row: abs(int(row["env_frames"]) - frames))
    spread = f"{float(near['min_return']):.0f}, {float(near['max_return']):.0f}"
    return f"{near['mean_return']} ({spread}) at {int(near['env_frames']):,}"


def id_of(task: str) -> str:
    """The id of a task, given its id, its file, or its name in dm_control."""
    return task if "/" in task or registry.is_file(task) else f"dm_control/{task}-v0"


def main(argv: Sequence[str] | None = None, make: Make = StableBaselines) -> int:
    parser = rows.parser("sac", __doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), help="ids, or names of dm_control tasks")
    parser.add_argument("--frames", type=rows.count, default=100_000, help="environment frames of training")
    parser.add_argument("--seeds", type=rows.count, default=1, help="trainings of each task, seeds from 0")
    parser.add_argument(
        "--episodes", type=rows.count, default=10, help="evaluated after each, from the planners' starts"
    )
    parser.add_argument("--action-repeat", type=rows.count, default=2, help="frames that an action lasts")
    parser.add_argument("--train-freq", type=rows.count, default=1, help="decisions from one gradient step to the next")
    parser.add_argument("--threads", type=rows.count, default=1, help="of torch")
    options = parser.parse_args(argv)
    if not options.table:
        torch.set_num_threads(options.threads)
        tasks = dict.fromkeys(id_of(task) for task in options.tasks)
        trainings = [
            Training(task, seed, options.frames, options.action_repeat, options.train_freq)
            for seed in range(options.seeds)
            for task in tasks
        ]
        measure(trainings, options.episodes, options.out, make)
    print(table(rows.read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
