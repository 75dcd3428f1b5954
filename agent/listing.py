"""`telos list`: what there is to choose from, a line each."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from agent.plugins import known_planners
from envs.errors import TelosError


def show(what: str, task: str | None, console: Console) -> None:
    """Print one table.

    Args:
        what: tasks, planners, models, costs, guardrails, presets, or signals.
        task: the task whose signals are wanted.
    """
    if task is not None and what != "signals":
        raise TelosError(f"list {what} --task", repr(task), "telos list signals --task ID")
    name, about, rows = _rows(what, task)
    if not console.is_terminal:  # for grep and cut
        for key, text in rows.items():
            print(f"{key}\t{text}")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(name, no_wrap=True)
    table.add_column(about)
    for key, text in rows.items():
        table.add_row(key, text)
    console.print(table, highlight=False, markup=False)


def _rows(what: str, task: str | None) -> tuple[str, str, Mapping[str, str]]:
    """Column names, and the rows."""
    if what == "tasks":
        from envs import registry

        return "task", "made by", registry.table()
    if what == "planners":
        return "planner", "how it searches", {name: e.summary for name, e in known_planners().items()}
    if what == "models":
        from worldmodels import registry as models

        return "world model", "what it is", {name: e.summary for name, e in models.table().items()}
    if what == "costs":
        from agent.config import CostConfig

        return "cost", "what stands there", {n: str(f.description) for n, f in CostConfig.model_fields.items()}
    if what == "guardrails":
        from envs.guardrails.registry import describe

        return "guardrail", "what it holds", describe()
    if what == "presets":
        from agent.load import presets

        return "preset", "for", presets()
    from envs import registry, signals

    if task is None:
        raise TelosError("list signals", "no task", "telos list signals --task ID")
    return "signal", "unit", signals.available(registry.load(task).spec())
