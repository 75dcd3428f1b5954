"""Runs the episodes of one configuration into one run directory; a run can be interrupted and resumed.

An episode's randomness derives only from its seed and its index under that seed. Agent and environment are built anew
for each episode. A resumed run therefore writes the same rows as an uninterrupted one, unless it is in real time or has
a planning budget in seconds, because results then depend on the clock.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import torch
from rich.console import Console

from agent import provenance
from agent.config import resolved
from agent.config.config import Config
from agent.config.load import writable
from agent.memory.episode import Episode
from agent.memory.memory import Memory
from agent.reports import report
from agent.rollouts import episode
from agent.rollouts.interrupts import interrupts
from agent.rollouts.jobs import Job, Rollouts
from agent.rollouts.parcel import sealed
from agent.rollouts.player import frame_limit, made
from agent.rollouts.progress import RunProgress
from agent.rollouts.rollouts import Serial
from agent.rollouts.row import Row, to_json
from agent.runs import integrity, logs, seeds, statistics
from agent.runs.logger import Logger
from agent.runs.manifest import manifest_of
from agent.runs.repair import repair
from agent.runs.rundir import RunDir, is_run
from envs import registry
from envs.errors import TelosError, Unplayable
from envs.files import refusal, write, writing
from envs.guardrails.doubtful import doubts
from envs.mjcf import task as mjcf

RUNS = Path("runs")


class Interrupted(KeyboardInterrupt):
    """The user stopped the run; the message says how to continue it."""

    def __init__(self, path: Path, finished: int) -> None:
        super().__init__(f"interrupted after {finished} finished episodes; finish with: telos resume {path}")


def default_out(config: Config) -> Path:
    """runs/TASK-PLANNER-seedK, or -seedsJ..K for several seeds; with -2, -3, … if that path exists."""
    return unused(RUNS / f"{short(config.task)}-{config.planner.kind}-{seeds.name(config)}")


def short(task: str) -> str:
    """A task's name inside that of a directory."""
    name = Path(task).stem if registry.is_file(task) else task
    return name.removeprefix("dm_control/").removesuffix("-v0").replace("/", "-")


def unused(base: Path) -> Path:
    """This path, with -2, -3, … if it exists."""
    path, n = base, 1
    while path.exists():
        n += 1
        path = base.with_name(f"{base.name}-{n}")
    return path


def run(
    config: Config,
    out: Path | None = None,
    console: Console | None = None,
    rollouts: Rollouts | None = None,
    notices: Sequence[str] = (),
    logger: str | None = None,
) -> RunDir:
    """Run all episodes of a configuration.

    Args:
        config: what to run.
        rollouts: runs the episodes; None means in this process.
        out: a new or empty directory, or the directory of a run of an equal configuration, which is then resumed;
            None means `default_out`.
        notices: about the configuration; printed once the configuration is known to fit the task.
        logger: a name in `agent.runs.logger.KINDS`, for a log of the run.

    Raises:
        TelosError: the configuration does not fit the task, `out` cannot be used, or the logger is unknown or not
            installed. Nothing is left on disk.
        Interrupted: the user pressed Ctrl-C.
    """
    console, loggers = console or Console(stderr=True), logs.wanted(logger)
    if registry.is_file(config.task):  # an absolute path, so that the run works from any working directory
        config = config.model_copy(update={"task": writable(str(mjcf.located(config.task)))})
    config, shorter = _fitted(config)
    path = default_out(config) if out is None else out
    with writing(path):
        there = path.exists()
        taken = there and (not path.is_dir() or any(path.iterdir()))
    if taken:
        return _continued(path, config, console, rollouts, logger)
    _, world = made(config)  # raises if the configuration does not fit, before anything is on disk
    with closing(world.env):
        world.reset(*episode.seeds_of(*config.place(0))[:-1])
        warnings = [f"warning: {doubt}" for doubt in doubts(world.env.model, world.monitor.guardrails)]
    for notice in (*notices, *shorter, *warnings):
        console.print(notice, highlight=False, markup=False, soft_wrap=True)
    rundir = RunDir.create(path, config, manifest_of(config))
    with rundir.locked():
        try:
            return _finish(rundir, rollouts or Serial(), console, loggers)
        except Unplayable:
            if not rundir.rows():
                shutil.rmtree(rundir.path, ignore_errors=True)
                if there:
                    path.mkdir(exist_ok=True)
            raise


def _fitted(config: Config) -> tuple[Config, tuple[str, ...]]:
    """The configuration with `frames` limited to the task's maximum, and a notice if that changed it."""
    if config.frames is None:
        return config, ()
    limit = registry.load(config.task).interface().frame_limit
    if config.frames <= limit:
        return config, ()
    notice = f"frames: given {config.frames}, and an episode of {config.task} has at most {limit}: {limit} are run"
    return config.model_copy(update={"frames": limit}), (notice,)


def resume(
    path: Path, console: Console | None = None, rollouts: Rollouts | None = None, logger: str | None = None
) -> RunDir:
    """Finish an interrupted run; for a finished run, only write memory, summary and report again.

    Rows and steps that do not fit each other are set aside, and their episodes run again. If versions have changed
    since the run began, the user is only warned.

    Args:
        logger: a log besides those that the run has.

    Raises:
        TelosError: the path is not a run directory, the run is damaged or of an older schema, its configuration,
            rules, manifest or task files are no longer those with which it began, or a logger is not installed.
        Interrupted: the user pressed Ctrl-C.
    """
    console = console or Console(stderr=True)
    rundir = RunDir.open(path)
    integrity.insist_verifiable(rundir, "resumed")
    loggers = logs.wanted(logger, path)
    with rundir.locked():
        rules = integrity.rules_of(rundir)
        _sweep(rundir.path)
        for notice in repair(rundir, rules):
            console.print(notice, highlight=False, markup=False, soft_wrap=True)
        _tell_of_other_versions(rundir, console)
        return _finish(rundir, rollouts or Serial(), console, loggers)


def _tell_of_other_versions(rundir: RunDir, console: Console) -> None:
    """Warn if other versions would run the remaining episodes: the run's episodes may then not be comparable."""
    then, versions, commit = rundir.manifest, provenance.versions(), provenance.commit()
    others = [
        f"{name} {then.versions.get(name)} (now {versions.get(name)})"
        for name in sorted(then.versions.keys() | versions.keys())
        if then.versions.get(name) != versions.get(name)
    ]
    if then.commit != commit:
        others.append(f"commit {then.commit} (now {commit})")
    if others and len(rundir.rows()) < rundir.config.total:
        text = f"warning: the run began with {', '.join(others)}: its last episodes may differ from its first"
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _continued(path: Path, config: Config, console: Console, rollouts: Rollouts | None, logger: str | None) -> RunDir:
    """Resume the run in an existing `out` if it has an equal configuration. Raises TelosError otherwise."""
    if not path.is_dir():
        raise TelosError(f"--out {path}", "a file", "a new or an empty directory")
    if not is_run(path):
        raise TelosError(f"--out {path}", "a directory with other things in it", "a new or an empty directory")
    there = RunDir.open(path)
    if there.config != config:
        ours, theirs = config.model_dump(), there.config.model_dump()
        differs = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
        raise TelosError(
            f"--out {path}",
            f"the run of another configuration (other {', '.join(differs)})",
            f"another directory, or `telos resume {path}` to finish that run",
        )
    console.print(f"{path} holds this run: going on with it", highlight=False, markup=False, soft_wrap=True)
    return resume(path, console, rollouts, logger)


def _finish(rundir: RunDir, rollouts: Rollouts, console: Console, loggers: Mapping[str, type[Logger]]) -> RunDir:
    torch.set_num_threads(1)  # planning uses its own C threads
    config, path = rundir.config, rundir.path
    rows = list(rundir.rows())

    def tell(notice: str) -> None:
        console.print(notice, highlight=False, markup=False, soft_wrap=True)

    try:
        with interrupts() as stop, logs.opened(rundir, rows, loggers, tell) as log:
            _episodes(rundir, rows, rollouts, stop, console, log)
        if len(rows) < config.total:
            raise KeyboardInterrupt
        _close(rundir)
        if config.seeds:
            seeds.show(seeds.by_seed(rows), console)
    except KeyboardInterrupt:
        raise Interrupted(path, len(rows)) from None
    return rundir


def _episodes(
    rundir: RunDir,
    rows: list[Row],
    rollouts: Rollouts,
    stop: Callable[[], bool],
    console: Console,
    log: Callable[[Row], None],
) -> None:
    """Run the missing episodes, save and log each, and append its row to `rows`.

    The row is saved last, after steps and video, because an episode counts as finished once its row is on disk.
    """
    config = rundir.config
    if len(rows) == config.total:
        return
    finished = {row.episode for row in rows}
    parcel = sealed(config)
    jobs = (Job(parcel, index) for index in range(config.total) if index not in finished)
    limit = frame_limit(config, registry.load(config.task).interface())
    with RunProgress(console, resolved.guardrails(config), config.total, limit, len(rows)) as progress:
        outcomes = rollouts.run(jobs, progress.watch, stop)
        with closing(outcomes):
            for outcome in outcomes:
                played = outcome.played
                if played.notice:
                    progress.watch(played.notice)
                if played.video is not None:
                    _save_video(rundir.video_file(outcome.job.episode), played.video, progress.watch)
                assert played.steps is not None
                rows.append(rundir.record(played.row, played.steps))
                log(rows[-1])
                progress.end(played.row, seeds.title(config, played.row.episode))


def _close(rundir: RunDir) -> None:
    """Write memory, summary and report of a finished run; all of them follow from its episodes."""
    rows = rundir.rows()
    kept = Memory(rundir.config.memory.capacity)
    kept.episodes = recalled(rundir)
    file = rundir.path / "memory.safetensors"
    with writing(file):
        try:
            kept.save(file)
        finally:
            file.with_name(file.name + ".part").unlink(missing_ok=True)
    estimates = {name: vars(estimate) for name, estimate in statistics.summarise(rows).items()}
    write(rundir.path / "summary.json", (to_json(estimates, 2) + "\n").encode())
    report.write_report(rundir)


def recalled(rundir: RunDir) -> list[Episode]:
    """The last episodes of a run, as many as short-term memory holds, read from the steps on disk."""
    episodes = []
    for row in rundir.rows()[-rundir.config.memory.capacity :]:
        steps = rundir.steps(row.episode)
        episodes.append(steps.episode(row))
    return episodes


def _save_video(file: Path, video: bytes, tell: Callable[[str], None]) -> None:
    """Write a video; if that fails, tell the user and continue without it."""
    try:
        file.parent.mkdir(exist_ok=True)
        write(file, video)
    except (OSError, TelosError) as error:
        tell(f"no video: {error}")


def _sweep(path: Path) -> None:
    """Remove temporary files and folders that a killed process left."""
    try:
        for file in (*path.glob(".*.part*"), *path.glob("*/.*.part*"), *path.glob("*.part")):
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)
    except OSError as error:
        raise refusal(path, error) from None
