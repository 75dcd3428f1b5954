"""The six figures of the README, from the rows in `benchmarks/results/`."""

from __future__ import annotations

from benchmarks.harness import rows
from benchmarks.planners import planners
from benchmarks.planners import scores as planner_scores
from benchmarks.quickstart import twins as quickstart_twins
from benchmarks.systems import faults, throughput
from benchmarks.tampering import tampering
from benchmarks.worldmodels import goals


def table() -> str:
    """A Markdown table: what was measured, the figure, and a link to the full page."""
    lines = ["| what | figure | all of it |", "|---|---|---|"]
    found = [
        (_planning(), "planners"),
        (_learning(), "world_models"),
        (_guardrail(), "quickstart"),
        (_throughput(), "throughput"),
        (_kills(), "faults"),
        (_tampering(), "tampering"),
    ]
    lines += [f"| {what} | {figure} | [{page}](docs/measured/{page}.md) |" for (what, figure), page in found]
    return "\n".join(lines)


def _planning() -> tuple[str, str]:
    cells = planner_scores.cells(rows.read(planners.OUT.with_name("suite.jsonl")))
    fresh = {cell.task: cell.fresh for cell in cells if cell.planner == planners.DEFAULT and cell.fresh}
    whole = planner_scores.suite_mean(fresh)
    assert whole is not None
    seeds = sorted({len(returns) for returns in fresh.values()})
    count = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    figure = f"{planner_scores.interval(whole[0])}; TD-MPC2 after up to 4 million frames: {whole[1]:.1f}"
    return f"mean return of iCEM on {len(fresh)} dm_control tasks without training, {count} fresh seeds each", figure


def _learning() -> tuple[str, str]:
    found = rows.read(goals.OUT)
    distances = sorted({row["ahead"] for row in found})

    def shares(arm: str) -> str:
        mine = [[row for row in found if (row["arm"], row["ahead"]) == (arm, ahead)] for ahead in distances]
        each = [100 * sum(r["reached"] for r in those) / sum(r["starts"] for r in those) for those in mine]
        return ", ".join(f"{share:.1f}" for share in each)

    seeds = len({row["seed"] for row in found if row["arm"] == "jepa"})
    far = ", ".join(map(str, distances))
    what = f"poses of an arm, {far} steps ahead, reached with a model of random motion alone, {seeds} trainings"
    return what, f"{shares('jepa')} %; random actions {shares('random')} %, a PD controller {shares('pd')} %"


def _guardrail() -> tuple[str, str]:
    found = rows.read(quickstart_twins.OUT)
    steps = {
        twin: sum(row["violation_steps"] for row in found if row["twin"] == twin) for twin in quickstart_twins.TWINS
    }
    episodes = len(found) // len(quickstart_twins.TWINS)
    figure = f"{steps['product']} with the guardrail, {steps['unguarded']} without it"
    return f"violating steps in {episodes} episodes of the quickstart", figure


def _throughput() -> tuple[str, str]:
    ratios = [row["plan_ratio"] for row in rows.read(throughput.OUT)]
    return (
        "speed of planning, as a share of bare MuJoCo rollouts on C threads",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
    )


def _kills() -> tuple[str, str]:
    found = rows.read(faults.OUT)
    kills, lost = (sum(row[name] for row in found) for name in ("kills", "lost"))
    return f"episodes lost in {kills} kills of random processes, after `telos resume`", f"{lost}"


def _tampering() -> tuple[str, str]:
    found = rows.read(tampering.OUT)
    bad = sum(any(row[command] in tampering.BAD for command in tampering.COMMANDS) for row in found)
    return f"edits of run directories that a command did not notice, of {len(found):,}", f"{bad}"
