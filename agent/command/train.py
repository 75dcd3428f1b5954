"""Runs a training to its end, in a directory that a killed or interrupted run continues from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress as Bar

from agent import provenance
from agent.command.run import RUNS, short, unused
from agent.learning import floors
from agent.learning.film import filmed
from agent.learning.prepare import prepared
from agent.learning.recipe import Recipe
from agent.learning.train import Progress, Training
from agent.learning.traindir import TrainDir
from agent.reports import training as report
from agent.rollouts.interrupts import interrupts
from agent.rollouts.progress import bar
from envs.errors import TelosError
from envs.files import locked, write, writing

HERE = "a training that is still going"
ROOM = 2**20  # bytes that must be left free after a run


class Stopped(KeyboardInterrupt):
    """The user stopped the training; the message says how to continue it."""

    def __init__(self, path: Path, frames: int) -> None:
        super().__init__(f"interrupted after {frames:,} frames; go on with: telos resume {path}")


def train(recipe: Recipe, out: Path | None, console: Console) -> TrainDir:
    """A new training run.

    Args:
        out: a new or empty directory; None means runs/train-TASK-seedN.

    Raises:
        TelosError: the recipe does not fit its task, or `out` cannot be used.
        Stopped: the user pressed Ctrl-C.
    """
    path = out or default_out(recipe)
    prepared(recipe, path)
    with locked(path, HERE):
        training = Training(TrainDir.open(path))
        need, free = needed(training), shutil.disk_usage(path).free
        if need + ROOM > free:
            shutil.rmtree(path, ignore_errors=True)
            raise TelosError(str(path), f"{free / 1e6:.0f} MB free", f"about {need / 1e6:.0f} MB for this run")
        console.print(f"{path}: about {need / 1e6:.0f} MB on disk when it ends", highlight=False, markup=False)
        return _finished(training, console)


def resume(path: Path, console: Console) -> TrainDir:
    """Go on with a training run, from its last whole cycle; other versions than it began with are told.

    Raises as `train` does.
    """
    TrainDir.open(path)  # before the lock, for the error of a path that is no training
    with locked(path, HERE):
        folder = TrainDir.open(path)
        _tell_of_other_versions(folder, console)
        return _finished(Training(folder), console)


def _tell_of_other_versions(folder: TrainDir, console: Console) -> None:
    then, now = folder.manifest["versions"], provenance.versions()
    others = [f"{name} {then.get(name)} (now {version})" for name, version in now.items() if then.get(name) != version]
    if others:
        text = f"warning: the training began with {', '.join(others)}: it may not end as an uninterrupted one"
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def default_out(recipe: Recipe) -> Path:
    """runs/train-TASK-seedN; with -2, -3, … if that path exists."""
    return unused(RUNS / f"train-{short(recipe.task)}-seed{recipe.seed}")


def needed(training: Training) -> int:
    """Bytes on disk when the run ends: the store, and three copies of the weights with their optimiser's state."""
    recipe, world = training.recipe, training.world
    state_size = training.physics.state_size
    numbers = training.networks.inputs.features + world.env.interface.action_size + state_size + 2
    weights = sum(p.numel() for p in training.networks.parameters())
    weights += sum(
        p.numel() for one in training.heads.values() for m in one.parts()[1].values() for p in m.parameters()
    )
    return 8 * numbers * recipe.frames + 4 * 5 * weights


def _finished(training: Training, console: Console) -> TrainDir:
    folder = training.folder
    folder.store.swept()
    with interrupts() as stop, bar(console) as shown:
        progress = _Progress(console, shown, training)
        if floors.measured(folder, training, progress.tell, stop) is None:
            raise Stopped(folder.path, training.frames)
        while not training.finished:
            if stop():
                raise Stopped(folder.path, training.frames)
            progress.show(training.cycle())
        _film(training, progress.tell)
        report.write_report(folder)
    return folder


def _film(training: Training, tell: Callable[[str], None]) -> None:
    """Write the film of the trained agent, or say why there is none."""
    goals = training.recipe.evaluate.goals
    if goals is None:
        return
    video, notice = filmed(training.config, training.attempts(), goals, training.seed)
    if video is not None:
        file = training.folder.path / "video" / "goals.mp4"
        with writing(file):
            file.parent.mkdir(exist_ok=True)
        write(file, video)
    if notice:
        tell(notice)


class _Progress:
    """What the console says of a training: a bar over frames, a line for each evaluation and alarm."""

    def __init__(self, console: Console, progress: Bar, training: Training) -> None:
        self._console, self._bar = console, progress
        self._task = progress.add_task("training", total=training.recipe.frames, completed=training.frames, status="")

    def tell(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    def show(self, progress: Progress) -> None:
        """Show a cycle; an evaluation, and every alarm, is a line that stays."""
        for score in progress.scores:
            self.tell(f"{progress.frames:,} frames: {scored(score)}; {_spent(progress.seconds)}")
        for one in progress.returns:
            self.tell(f"{progress.frames:,} frames: {returned(one)}; {_spent(progress.seconds)}")
        for alarm in progress.alarms:
            self.tell(f"ALARM at {progress.frames:,} frames: {alarm}", "bold red")
        terms = ", ".join(f"{name} {value:.3g}" for name, value in list(progress.terms.items())[:3])
        status = " · ".join(filter(None, (f"{progress.updates:,} updates", terms)))
        self._bar.update(self._task, completed=progress.frames, status=status)


def scored(score: dict[str, Any]) -> str:
    """One line about an evaluation."""
    success = score["success"]
    interval = f"[{100 * success['low']:.0f}, {100 * success['high']:.0f}]"
    return (
        f"goals {score['ahead']} steps ahead reached from {100 * success['mean']:.0f} % {interval} of {score['starts']}"
        f" starts, {100 * score['stayed']['mean']:.0f} % still there at the end, plan {score['plan_ms']:.1f} ms"
    )


def returned(one: dict[str, Any]) -> str:
    """One line about the episodes of one way to act."""
    least, most, number = min(one["each"]), max(one["each"]), len(one["each"])
    spread = f"{number} episodes from {least:.0f} to {most:.0f}" if number > 1 else "1 episode"
    return f"return of the {one['by']} {one['mean']['mean']:.1f} ({spread}), {one['decision_ms']:.2f} ms per step"


def _spent(seconds: Any) -> str:
    return ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
