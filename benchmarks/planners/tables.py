"""Markdown tables and sentences about the rows of `benchmarks.planners.planners`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from agent.runs.statistics import Estimate, mean_of_means
from benchmarks.planners.scores import (
    RANDOM,
    REFERENCE,
    Cell,
    Row,
    cells,
    interval,
    mean_return,
    name_of,
    normalised,
    published,
    random_return,
    suite_mean,
)

MATCHES = ("steps", "time")
SERVOS = ("fish-swim", "fish-upright", "quadruped-run", "quadruped-walk")  # tasks whose fallback ADR 12 changed


def summary(found: Sequence[Row]) -> str:
    """The rows as Markdown tables, one for each kind of match (steps, time)."""
    all_ = cells(found)
    return "\n\n".join(_table([c for c in all_ if c.match == match], all_) for match in MATCHES).strip()


def _table(mine: Sequence[Cell], all_: Sequence[Cell]) -> str:
    searching = [cell for cell in mine if cell.physics_steps > 0]
    if not searching:
        return ""
    lines = [
        f"Matched by {searching[0].match}:",
        "",
        "| task | planner | return, mean [95 %] | worst | seeds | on the preset's own seeds | random | TD-MPC2, last "
        "| best published | normalised | physics steps / decision | plan, ms: median of medians | largest p95 | in C |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in sorted(searching, key=lambda cell: cell.task):
        known, fresh = published().get(cell.task), cell.fresh
        values = (
            *(cell.task, cell.label, *_returns(fresh), _returns(cell.tuned)[0]),
            _number(random_return(cell.task, all_), ".0f"),
            *((f"{known.values[REFERENCE]:.1f}", f"{known.best:.1f}") if known else ("", "")),
            _number(float(np.mean(normalised(cell, all_, fresh))) if fresh else math.nan, ".3f"),
            *(f"{cell.physics_steps:,.0f}", f"{cell.median_ms:.1f}", f"{cell.p95_ms:.1f}", f"{cell.in_simulator:.1%}"),
        )
        lines.append(f"| {' | '.join(values)} |")
    for planner in dict.fromkeys(cell.label for cell in searching):
        theirs = [cell for cell in searching if cell.label == planner and cell.task in published()]
        for where, returns in (
            ("", {cell.task: cell.fresh for cell in theirs if cell.fresh}),
            (" on the presets' own seeds", {cell.task: cell.tuned for cell in theirs if cell.tuned}),
        ):
            whole = suite_mean(returns)
            if whole is not None:
                lines += [
                    "",
                    f"{planner}, mean over {len(returns)} task{'s' * (len(returns) > 1)}{where}: {interval(whole[0])}; "
                    f"TD-MPC2's last values there: {whole[1]:.1f}.",
                ]
    return "\n".join(lines)


def _returns(values: Sequence[float]) -> tuple[str, str, str]:
    """The mean with its interval, the least value, and the count; dashes if there are no values."""
    if not values:
        return "–", "–", "0"
    return interval(mean_return(values)), f"{min(values):.0f}", str(len(values))


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else f"{value:{form}}"


def _scored(estimate: Estimate) -> str:
    known = "" if estimate.low is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.mean:.3f}{known}"


def missing(found: Sequence[Row], planner: str, tasks: Sequence[str], seeds: int) -> str:
    """A sentence on tasks with too few seeds that their presets were not tuned on; "" if there are none."""
    there: dict[str, int] = {}
    for cell in cells(found):
        if cell.planner == planner:
            there[cell.task] = max(there.get(cell.task, 0), len(cell.fresh))
    short = [f"{task} ({there.get(task, 0)})" for task in tasks if there.get(task, 0) < seeds]
    return f"Tasks with fewer than {seeds} such seeds so far: {', '.join(short)}." if short else ""


def stale(found: Sequence[Row]) -> str:
    """A sentence on servo-driven tasks with rows from before the fallback held its position (ADR 12); "" if none.

    Such rows are of schema 4, which has no `gate`.
    """
    old = {name_of(row["task"]) for row in found if row["model_steps_per_decision"] > 0 and "gate" not in row}
    named = sorted(old & set(SERVOS))
    if not named:
        return ""
    return f"Rows of {', '.join(named)} are stale: the fallback among their candidates sent servos to 0 (ADR 12)."


def threaded(found: Sequence[Row]) -> str:
    """A sentence on rows planned with several threads; "" if there are none. Returns do not depend on threads."""
    more = [cell for cell in cells(found) if cell.threads > 1 and cell.physics_steps > 0]
    named = sorted({f"{cell.task} ({cell.label}: {cell.threads})" for cell in more})
    return f"Planned with several threads, which changes times and nothing else: {', '.join(named)}." if named else ""


def seeds(found: Sequence[Row], match: str) -> str:
    """How many seeds each planner and task has under this match, in words."""
    mine = [cell for cell in cells(found) if cell.match == match and cell.physics_steps > 0]
    there = {(cell.label, cell.task): len(cell.returns) for cell in mine}
    counts = [there.get((one.label, other.task), 0) for one in mine for other in mine]
    few, many = min(counts), max(counts)
    return f"{few} seeds each" if few == many else f"{few} to {many} seeds each so far"


def kept(found: Sequence[Row], given: Mapping[str, float]) -> str:
    """How closely time-matched plans kept to their seconds, in words; "" if there are no such plans.

    Args:
        given: name of the task (without its suite) -> s per decision.
    """
    shares = [
        row["plan_ms_median"] / 1e3 / given[task]
        for row in found
        if row["match"] == "time" and row["model_steps_per_decision"] > 0
        if (task := name_of(row["task"])) in given
    ]
    if not shares:
        return ""
    return (
        f"the median plan of an episode took {min(shares):.2f} to {max(shares):.2f} of the seconds given, "
        f"{float(np.median(shares)):.2f} in the middle"
    )


def matrix(found: Sequence[Row], match: str) -> str:
    """A table of planners by tasks under one match, best planner first; "" if there are no rows.

    Columns are mean returns, and last the mean of the normalised scores, with equal weights of tasks. Planners that
    lack a task are left out.
    """
    all_ = cells(found)
    mine = {(cell.label, cell.task): cell for cell in all_ if cell.match == match and cell.physics_steps > 0}
    tasks = sorted({task for _, task in mine})
    if not mine:
        return ""

    def score(planner: str) -> Estimate:
        return mean_of_means([normalised(mine[planner, task], all_).tolist() for task in tasks])

    whole = [name for name in dict.fromkeys(name for name, _ in mine) if all((name, task) in mine for task in tasks)]
    lines = [
        f"| matched by {match} | {' | '.join(tasks)} | normalised, mean [95 %] |",
        f"|---|{'---|' * len(tasks)}---|",
    ]
    for planner in sorted(whole, key=lambda name: score(name).mean, reverse=True):
        values = (interval(mine[planner, task].estimate) for task in tasks)
        lines.append(f"| `{planner}` | {' | '.join(values)} | {_scored(score(planner))} |")
    randoms = (_number(random_return(task, all_), ".0f") for task in tasks)
    lines.append(f"| {RANDOM} actions | {' | '.join(randoms)} | 0 |")
    return "\n".join(lines)
