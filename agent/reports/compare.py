"""`telos compare A B`: mean differences B minus A over paired episodes, with intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.reports.differences import Differing, between
from agent.rollouts.row import Row, to_json
from agent.runs import integrity, seeds, statistics
from agent.runs.rundir import RunDir
from agent.runs.statistics import Estimate
from envs.errors import TelosError

CLOCK = ("plan_ms", "decision_ms", "simulator_fraction", "seconds")


@dataclass(frozen=True)
class Difference:
    """One field: its mean in each run, and the mean of the paired differences."""

    name: str
    a: float
    b: float
    difference: Estimate  # B minus A

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        low, high = self.difference.low, self.difference.high
        return low is not None and high is not None and (low > 0 or high < 0)


@dataclass(frozen=True)
class Comparison:
    """The comparison of two runs of one task."""

    a: str
    b: str
    pairs: int  # episodes with the same seed, index and accepted start in both
    other_starts: int  # episodes with the same seed and index but another start, because one run rejected a start
    left_out: int  # episodes that only one of the runs has
    differences: tuple[Difference, ...]
    differing: tuple[Differing, ...]  # configuration, rules, files, versions and code in which the runs differ
    warnings: tuple[str, ...]  # reasons why the runs are not fully comparable or verified

    def json(self) -> str:
        """The comparison as JSON; numbers that are not finite are strings, as in rows."""
        return to_json(asdict(self), 2)


def compare(a: RunDir, b: RunDir) -> Comparison:
    """Pair the episodes of two runs by seed, index and accepted start.

    Raises:
        TelosError: the tasks differ, there is no pair, or the files of a run do not fit each other.
    """
    if a.config.task != b.config.task:
        raise TelosError(f"compare {b.path}", f"task {b.config.task}", f"{a.config.task}, as in {a.path}")
    (rows_a, told_a), (rows_b, told_b) = _rows(a), _rows(b)
    common = sorted(rows_a.keys() & rows_b.keys())
    if not common:
        given = f"no finished episode in common ({seeds.title(a.config)} and {seeds.title(b.config)})"
        raise TelosError(f"compare {a.path} {b.path}", given, "runs with the same seed")
    keys = [key for key in common if rows_a[key].reset_seed == rows_b[key].reset_seed]
    if not keys:
        given = f"{len(common)} episodes in common, each with another accepted start"
        raise TelosError(f"compare {a.path} {b.path}", given, "runs whose rules accept the same starts")
    numbers = [(rows_a[key].numbers(), rows_b[key].numbers()) for key in keys]
    first, second = numbers[0]
    names = [name for name in first if name in second]
    differences = tuple(
        Difference(
            name,
            statistics.mean([left[name] for left, _ in numbers]).mean,
            statistics.mean([right[name] for _, right in numbers]).mean,
            statistics.mean([right[name] - left[name] for left, right in numbers]),
        )
        for name in sorted(names, key=lambda name: (name != "return", name.startswith(CLOCK)))
    )
    alone = len(rows_a) + len(rows_b) - 2 * len(common)
    moved = len(common) - len(keys)
    differing = between(a, b)
    warnings = (*dict.fromkeys((*told_a, *told_b)), *(str(one) for one in differing if one.meaning))
    return Comparison(str(a.path), str(b.path), len(keys), moved, alone, differences, differing, warnings)


def _rows(run: RunDir) -> tuple[dict[tuple[int, int], Row], list[str]]:
    """The rows of a run by seed and index, each checked against its steps, and warnings about what was not checked."""
    changed = integrity.changed_files(run)
    told = []
    if changed:
        told.append(f"{run.path}: {' and '.join(changed)} is not as it was, so margins could not be judged again")
    if not run.manifest.verifiable:
        told.append(f"{run.path}: unverified, as a run of schema {run.manifest.schema} has no digests of its steps")
    rules = None if changed else integrity.rules_of(run)
    return {run.config.place(row.episode): row for row, _ in integrity.episodes(run, rules)}, told


def show(comparison: Comparison, console: Console) -> None:
    """Print the table."""
    for warning in comparison.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    for one in comparison.differing:
        if not one.meaning:
            console.print(f"differs: {one}", highlight=False, markup=False, soft_wrap=True)
    caption = f"{comparison.pairs} episodes paired by seed and index; 95 % t interval over pairs"
    if comparison.other_starts:
        caption += f"; {comparison.other_starts} with another start left out"
    if comparison.left_out:
        caption += f"; {comparison.left_out} without a partner left out"
    table = Table(title=Text(f"A = {comparison.a}   B = {comparison.b}"), title_justify="left")
    for name in ("", "A", "B", "B − A", "95 %"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for row in comparison.differences:
        low, high = row.difference.low, row.difference.high
        interval = "–" if low is None or high is None else f"{low:+.3g} … {high:+.3g}"
        style = "bold" if row.clear else None
        table.add_row(row.name, f"{row.a:.4g}", f"{row.b:.4g}", f"{row.difference.mean:+.3g}", interval, style=style)
    console.print(table, highlight=False, markup=False)
    console.print(caption, highlight=False, soft_wrap=True)
