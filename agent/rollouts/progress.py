"""The progress display of a run."""

from __future__ import annotations

import time
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agent.rollouts.acted import often, share
from agent.rollouts.jobs import Tick
from agent.rollouts.row import Row
from envs.guardrails.ruleset import Guardrails


def bar(console: Console) -> Progress:
    """A bar with a description, a status, the time spent and the time left; invisible where there is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[status]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("·"),
        TimeRemainingColumn(compact=True),
        console=console,
        refresh_per_second=4,
        disable=not console.is_terminal,
    )


class RunProgress:
    """A progress bar over all control steps of a run: workers, return, worst margin, planning rate, time left."""

    def __init__(self, console: Console, rules: Guardrails, episodes: int, frames: int, done: int) -> None:
        """
        Args:
            episodes: number of episodes of the run.
            frames: maximum number of control steps per episode.
            done: number of episodes that are already finished.
        """
        self._rules = rules
        self._scale = rules.scale.numpy()
        self._episodes, self._frames, self._done = episodes, frames, done
        self._running: dict[int, Tick] = {}  # worker -> its latest tick
        self._steps = 0  # control steps since `_clock`
        self._clock = time.perf_counter()
        self._bar = bar(console)
        self._task = self._bar.add_task("", total=episodes * frames, completed=done * frames, status="")
        self._console = console

    def __enter__(self) -> RunProgress:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def watch(self, event: Tick | str) -> None:
        """Show the progress of an episode, or print a notice."""
        if isinstance(event, str):
            self._console.print(event, highlight=False, markup=False, soft_wrap=True)
            return
        before = self._running.get(event.worker)
        known = before.steps if before is not None and before.episode == event.episode else 0
        self._steps += max(0, event.steps - known)
        self._running[event.worker] = event
        self._show()

    def end(self, row: Row, name: str = "") -> None:
        """Print a line for an episode that is on disk. Without a `name`, the line gives its index."""
        self._done += 1
        self._running = {worker: tick for worker, tick in self._running.items() if tick.episode != row.episode}
        text, style = told(row)
        line = f"{name or f'episode {row.episode}'}: {text}"
        self._console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
        self._show()

    def _show(self) -> None:
        if self._bar.disable:
            return
        running = list(self._running.values())
        parts = []
        if len(running) == 1:
            parts.append(f"return {running[0].total:.1f}")
        elif running:
            parts.append(f"{len(running)} workers")
        if len(self._rules) and running:
            worst = np.min([tick.worst for tick in running], axis=0)
            rule = int(np.argmin(worst / self._scale))
            parts.append(f"margin {worst[rule]:+.3g} {self._rules.units[rule]} ({self._rules.names[rule]})")
        acted = sum(tick.fallbacks for tick in running)
        if acted:
            parts.append(f"the fallback acted in {share(acted, sum(tick.steps for tick in running))}")
        if self._steps:
            parts.append(f"{self._steps / max(time.perf_counter() - self._clock, 1e-9):.1f} decisions/s")
        self._bar.update(
            self._task,
            completed=self._done * self._frames + sum(tick.steps for tick in running),
            description=f"episode {min(self._done + 1, self._episodes)}/{self._episodes}",
            status=" · ".join(parts),
        )


def told(row: Row) -> tuple[str, str | None]:
    """One line about a finished episode, and its style: red for violations or divergence, yellow for many fallbacks."""
    parts = [f"return {row.return_:.1f}", f"{row.decisions} decisions"]
    parts.append(f"violating steps {row.violation_steps}" if row.min_margin else "no guardrails")
    if row.diverged:
        parts.append("THE SIMULATION DIVERGED")
    parts.append(f"interventions {row.interventions}")
    if row.fallbacks:
        parts.append(f"the fallback acted in {share(row.fallbacks, row.decisions)} of the decisions")
    parts += [f"plan {row.plan_ms_median:.1f} ms", f"{row.seconds:.1f} s"]
    style = "yellow" if often(row.fallbacks, row.decisions) else None
    return ", ".join(parts), "red" if row.violation_steps or row.diverged else style
