"""The headline says whether the rules held, and whether the agent or its fallback acted."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from agent.config import resolved
from agent.reports.verdict import Verdict, judge, records
from agent.rollouts.acted import beginning, main_reason, often, share
from agent.rollouts.jobs import Tick
from agent.rollouts.progress import RunProgress, told
from agent.rollouts.row import Row, Steps
from agent.runs.rundir import RunDir
from tests.cli.conftest import following, forged

Change = Callable[[Steps], None]


def verdict(run: Path, change: Change, *, diverged: bool = False, unfinished: bool = False) -> Verdict:
    """The headline of a finished run whose guardrails hold, after a change to its steps."""
    rundir = RunDir.open(run)
    episodes, rows = {}, []
    for row in rundir.rows():
        steps = rundir.steps(row.episode)
        for name, value in (("violated", False), ("fallback", False), ("intervened", False), ("margin", 0.5)):
            getattr(steps, name)[:] = value
        change(steps)
        episodes[row.episode] = steps
        rows.append(replace(following(row, steps)[0], diverged=diverged))
    rows = rows[:2] if unfinished else rows
    kept = {row.episode: episodes[row.episode] for row in rows}
    return judge(rundir.config, rundir.manifest, rows, kept, records(resolved.guardrails(rundir.config), kept))


def acting(moments: Sequence[int], reason: str = "rail at step 1: margin -0.1 m") -> Change:
    """A change that lets the fallback act at these control steps."""

    def change(steps: Steps) -> None:
        steps.fallback[list(moments)] = steps.intervened[list(moments)] = True
        object.__setattr__(steps, "reasons", np.where(steps.fallback, reason, ""))

    return change


def violating(steps: Steps) -> None:
    steps.margin[7, 0], steps.violated[7] = -3.0, True


def test_the_agent_acted(finished: Path) -> None:
    found = verdict(finished, acting([]))
    assert (found.status, found.title) == ("held", "Guardrails held")
    assert "fallback acted" not in found.sentence


def test_now_and_then_the_fallback_acted(finished: Path) -> None:
    found = verdict(finished, acting([9, 17]))
    assert (found.status, found.title) == ("held", "Guardrails held")
    assert "the fallback acted in 6 of 60 decisions (10 %)" in found.sentence


def test_the_fallback_acted_in_more_than_a_tenth_of_the_decisions(finished: Path) -> None:
    found = verdict(finished, acting([5, 9, 17], "the safe stop does not come to rest in time"))
    assert found.status == "held_by_fallback"
    assert found.title == "Guardrails held, but the fallback acted in 15 % of the decisions"
    assert "most often: the safe stop does not come to rest in time" in found.sentence


def test_the_fallback_acted_from_the_first_step_on(finished: Path) -> None:
    found = verdict(finished, acting([0]))
    assert found.status == "held_by_fallback"
    assert "in 3 episodes from the first one on" in found.sentence


def test_the_agent_never_acted(finished: Path) -> None:
    found = verdict(finished, acting(range(20)))
    assert (found.status, found.title) == ("held_by_fallback", "Guardrails held, but the agent did not act")


def test_a_violation_is_the_headline_whoever_acted(finished: Path) -> None:
    def change(steps: Steps) -> None:
        acting(range(20))(steps)
        violating(steps)

    found = verdict(finished, change)
    assert (found.status, found.title) == ("violated", "Guardrails violated")
    assert "the fallback acted in 60 of 60 decisions" in found.sentence


def test_the_worst_margin_is_one_that_was_violated(finished: Path) -> None:
    """A lower margin that is within its rule's tolerance is not shown as the worst."""

    def change(steps: Steps) -> None:
        steps.margin[3, 1] = -0.049  # within the tolerance of `slow`
        steps.margin[7, 0], steps.violated[7] = -0.001, True

    assert "The worst was rail, -0.001 m" in verdict(finished, change).sentence


def test_a_world_that_diverged(finished: Path) -> None:
    found = verdict(finished, acting([]), diverged=True)
    assert (found.status, found.title) == ("diverged", "The simulation of the world diverged")
    assert "diverged in 3 episodes" in found.sentence
    found = verdict(finished, violating, diverged=True)
    assert (found.status, found.title) == ("violated", "Guardrails violated, and the simulation of the world diverged")


def test_a_run_that_has_not_finished_does_not_speak_for_all_its_episodes(finished: Path) -> None:
    found = verdict(finished, acting([]), unfinished=True)
    assert found.title == "Guardrails held in the 2 of 3 episodes that have finished"


def test_the_report_shows_it_in_amber(telos, copy: Path) -> None:
    def change(row: Row, steps: Steps) -> tuple[Row, Steps]:
        steps.margin[:], steps.violated[:] = 0.5, False
        acting([3, 4, 5])(steps)
        return following(row, steps)

    forged(copy, change)
    assert telos("report", copy).status == 0
    html = (copy / "report.html").read_text()
    assert '<section class="panel verdict held_by_fallback">' in html
    assert re.search(r"\.verdict\.held_by_fallback h2 { color: var\(--amber\); }", html)


def test_reasons_are_counted_without_their_numbers(finished: Path) -> None:
    steps = RunDir.open(finished).steps(0)
    reasons = ["wall_1 at step 3: margin -0.2 m", "wall_2 at step 4: margin -1 m", "wall_2 at step 9: margin -2 m"]
    steps.fallback[:] = False
    steps.fallback[:3] = True
    object.__setattr__(steps, "reasons", np.array([*reasons, *[""] * 17]))
    assert main_reason([steps]) == "wall_2 at step 4: margin -1 m"
    assert beginning(steps) == 3
    steps.fallback[:] = False
    assert main_reason([steps]) == ""
    assert beginning(steps) == 0


@pytest.mark.parametrize(
    ("acted", "text", "much"), [(0, "0 %", False), (1, "less than 1 %", False), (370, "37 %", True)]
)
def test_shares(acted: int, text: str, much: bool) -> None:
    assert share(acted, 1_000) == text
    assert often(acted, 1_000) == much


def test_the_console_says_it_at_the_end_of_an_episode(finished: Path) -> None:
    row = RunDir.open(finished).rows()[0]
    assert told(replace(row, fallbacks=0, violation_steps=0))[1] is None
    text, style = told(replace(row, fallbacks=9, violation_steps=0))
    assert "the fallback acted in 45 % of the decisions" in text
    assert style == "yellow"
    text, style = told(replace(row, diverged=True))
    assert "THE SIMULATION DIVERGED" in text
    assert style == "red"


def test_the_console_says_it_while_the_run_goes_on(finished: Path) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=200)
    rules = resolved.guardrails(RunDir.open(finished).config)
    with RunProgress(screen, rules, 1, 10, 0) as progress:
        progress.watch(Tick(0, 0, 8, 1.5, np.array([0.2, 2.0]), 2))
    assert "the fallback acted in 25 %" in screen.file.getvalue()  # type: ignore[attr-defined]
