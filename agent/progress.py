"""What a person sees while a run is under way."""

from __future__ import annotations

import time
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agent.episode import Step
from agent.row import Row
from envs.guardrails.ruleset import Guardrails


class RunProgress:
    """A bar over all control steps of a run: return so far, worst margin, planning rate, time left."""

    def __init__(self, console: Console, rules: Guardrails, episodes: int, frames: int, done: int) -> None:
        """
        Args:
            episodes, frames: in all; control steps per episode at most.
            done: episodes that are finished already.
        """
        self._rules = rules
        self._scale = rules.scale.numpy()
        self._episodes, self._frames = episodes, frames
        self._episode = done
        self._total, self._worst, self._steps = 0.0, np.full(len(rules), np.inf), 0
        self._clock = time.perf_counter()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("·"),
            TimeRemainingColumn(compact=True),
            console=console,
            refresh_per_second=4,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=episodes * frames, completed=done * frames, status="")
        self._console = console

    def __enter__(self) -> RunProgress:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def begin(self, episode: int) -> None:
        """A new episode."""
        self._episode, self._total, self._steps = episode, 0.0, 0
        self._worst[:] = np.inf
        self._clock = time.perf_counter()
        self._show()

    def step(self, step: Step) -> None:
        """One control step."""
        self._steps += 1
        self._total += step.reward
        self._worst = np.fmin(self._worst, step.margin)
        self._bar.advance(self._task)
        self._show()

    def end(self, row: Row) -> None:
        """The episode is on disk."""
        self._bar.update(self._task, completed=(row.episode + 1) * self._frames)
        verdict = f"violating steps {row.violation_steps}" if len(self._rules) else "no guardrails"
        self._console.print(
            f"episode {row.episode}: return {row.return_:.1f}, {row.decisions} decisions, {verdict}, "
            f"interventions {row.interventions}, plan {row.plan_ms_median:.1f} ms, {row.seconds:.1f} s",
            highlight=False,
            soft_wrap=True,
        )

    def _show(self) -> None:
        if self._bar.disable:
            return
        rate = self._steps / max(time.perf_counter() - self._clock, 1e-9)
        status = f"return {self._total:.1f}"
        if len(self._rules) and self._steps:
            worst = int(np.argmin(self._worst / self._scale))
            unit = self._rules.units[worst]
            status += f" · margin {self._worst[worst]:+.3g} {unit} ({self._rules.names[worst]})"
        if self._steps:
            status += f" · {rate:.1f} decisions/s"
        self._bar.update(self._task, description=f"episode {self._episode + 1}/{self._episodes}", status=status)
