"""`telos compare A B`: B minus A, episode by episode, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent import seeds, statistics
from agent.rundir import RunDir
from agent.statistics import Estimate
from envs.errors import TelosError

CLOCK = ("plan_ms", "decision_ms", "simulator_fraction", "seconds")


@dataclass(frozen=True)
class Difference:
    """One field: its means, and the mean of the paired differences."""

    name: str
    a: float
    b: float
    difference: Estimate  # B minus A

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        low, high = self.difference.low, self.difference.high
        return low is not None and high is not None and (low > 0 or high < 0)


@dataclass(frozen=True)
class Comparison:
    """Two runs of one task."""

    a: str
    b: str
    pairs: int  # episodes with the same seed, index and accepted start in both
    other_starts: int  # pairs by seed and index that began elsewhere, as one run rejected a start
    left_out: int  # episodes without a partner
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]


def compare(a: RunDir, b: RunDir) -> Comparison:
    """Pair the episodes of two runs by seed, index and accepted start.

    Raises:
        TelosError: different tasks, or no pair.
    """
    if a.config.task != b.config.task:
        raise TelosError(f"compare {b.path}", f"task {b.config.task}", f"{a.config.task}, as in {a.path}")
    rows_a = {a.config.place(row.episode): row for row in a.rows()}
    rows_b = {b.config.place(row.episode): row for row in b.rows()}
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
    return Comparison(str(a.path), str(b.path), len(keys), moved, alone, differences, _warnings(a, b))


def _warnings(a: RunDir, b: RunDir) -> tuple[str, ...]:
    """What makes the two runs less comparable than they look."""
    found = []
    if a.manifest.guardrails_sha256 != b.manifest.guardrails_sha256:
        digests = " and ".join(run.manifest.guardrails_sha256[:12] + "…" for run in (a, b))
        found.append(f"the guardrails differ ({digests}): margins and violations do not mean the same")
    elif a.manifest.rules_sha256 != b.manifest.rules_sha256:
        what = "the back-up, or the physics of world_model.robust"
        found.append(f"what the gate tries differs ({what}): what counts as a safe stop does not mean the same")
    if a.manifest.privileged != b.manifest.privileged:
        found.append("one agent reads the simulator's state, the other does not")
    if a.config.frames != b.config.frames:
        found.append(f"episodes of different length (frames: {a.config.frames} and {b.config.frames})")
    if a.config.variant != b.config.variant:
        found.append("the worlds differ (variant)")
    other = [name for name, version in a.manifest.versions.items() if b.manifest.versions.get(name) != version]
    if other:
        found.append(f"other versions of {', '.join(other)}")
    return tuple(found)


def show(comparison: Comparison, console: Console) -> None:
    """Print the table."""
    for warning in comparison.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
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
