"""The table of `telos bench throughput`, and the rows that miss its goals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]

GOAL_IN_C = 0.9  # share of planning time inside C, at 64 x 40
GOAL_TASKS = ("cartpole-swingup", "walker-walk", "cheetah-run", "humanoid-run", "quadruped-walk")
GOAL_IMAGINED = 0.95  # speed of `imagine()` relative to bare C, at 64 x 40, on the first four tasks
GOAL_RATIOS = {(64, 40): 0.95, (16, 20): 0.85}  # speed of `plan()` relative to bare C, by candidates and horizon
GOAL_SPEED_UP = 1.9  # of `plan()` with 64 candidates, from one thread to two

HEAD = (
    "| task | candidates × horizon | threads | bare C, million physics steps / s | `imagine()` / bare C "
    "| all fields recorded, `imagine()` takes | `plan()` / bare C | share of `plan()` inside C, among these calls "
    "| share of planning inside C, in an episode "
    "| `plan()`: one thread's time / this | bare C: one thread's time / this |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def table(found: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    return "\n".join([*HEAD, *(_line(row, found) for row in found)])


def _line(row: Row, found: Sequence[Row]) -> str:
    more = f"{row['imagine_all_ms'] / row['imagine_ms'] - 1:+.1%}" if "imagine_all_ms" in row else "–"
    between, episode = f"{row['plan_fraction_in_c']:.1%}", f"{row['episode_fraction_in_c']:.1%}"
    plan, bare = (_shown(speed_up(row, found, clock)) for clock in ("plan_ms", "bare_ms"))
    return (
        f"| {_name(row)} | {row['candidates']} × {row['horizon']} "
        f"| {row['threads']} | {row['bare_steps_per_second'] / 1e6:.2f} | {row['imagine_ratio']:.3f} | {more} "
        f"| {row['plan_ratio']:.3f} | {between} | {episode} | {plan} | {bare} |"
    )


def _shown(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}"


def speed_up(row: Row, found: Iterable[Row], clock: str = "plan_ms") -> float | None:
    """One thread's time divided by this row's, of the same task and setting; None if the row has one thread."""
    same = ("task", "candidates", "horizon")
    alone = [other for other in found if other["threads"] == 1 and all(other[key] == row[key] for key in same)]
    return alone[-1][clock] / row[clock] if alone and row["threads"] > 1 else None


def _name(row: Row) -> str:
    return row["task"].removeprefix("dm_control/").removesuffix("-v0")


def _where(row: Row) -> str:
    return f"{_name(row)} with {row['threads']} thread{'s' if row['threads'] > 1 else ''}"


def shortfall(found: Sequence[Row]) -> str:
    """Sentences on which rows miss which goal."""
    in_c = (_in_c(found, "`plan()`", "plan"), _in_c(found, "planning in an episode", "episode"))
    plans = (_ratios(found, setting, "plan", GOAL_TASKS, goal) for setting, goal in GOAL_RATIOS.items())
    imagined = _ratios(found, (64, 40), "imagine", GOAL_TASKS[:4], GOAL_IMAGINED)
    return " ".join([*in_c, imagined, *plans, _speed_ups(found)])


def _verdict(goal: str, seen: int, short: Sequence[str]) -> str:
    """One sentence about one goal."""
    if not seen:
        return f"Not measured: {goal}."
    return f"Short of the goal of {goal}: {', '.join(short)}." if short else f"Every row reaches the goal of {goal}."


def _in_c(found: Sequence[Row], what: str, key: str) -> str:
    rows = [row for row in found if (row["candidates"], row["horizon"]) == (64, 40)]
    shares = [(row, row[f"{key}_fraction_in_c"]) for row in rows]
    short = [f"{_where(row)} ({share:.1%})" for row, share in shares if share < GOAL_IN_C]
    return _verdict(f"{GOAL_IN_C:.0%} of {what} inside C at 64 × 40", len(rows), short)


def _ratios(found: Sequence[Row], setting: tuple[int, int], call: str, tasks: Sequence[str], goal: float) -> str:
    rows = [row for row in found if (row["candidates"], row["horizon"]) == setting and _name(row) in tasks]
    ratios = [(row, row[f"{call}_ratio"]) for row in rows]
    short = [f"{_where(row)} ({ratio:.3f})" for row, ratio in ratios if ratio < goal]
    where = f"{setting[0]} × {setting[1]} on {', '.join(name.partition('-')[0] for name in tasks)}"
    return _verdict(f"`{call}()` at {goal} of bare C at {where}", len(rows), short)


def _speed_ups(found: Sequence[Row]) -> str:
    rows = [row for row in found if row["threads"] == 2 and row["candidates"] == 64]
    ratios = [(row, speed_up(row, found)) for row in rows]
    known = [(row, ratio) for row, ratio in ratios if ratio is not None]
    short = [f"{_name(row)} ({ratio:.3f})" for row, ratio in known if ratio < GOAL_SPEED_UP]
    return _verdict(f"`plan()` {GOAL_SPEED_UP} times as fast on two threads at N = 64", len(known), short)
