"""`telos list`: lists the available tasks, planners and so on, or the parameters of one planner or guardrail."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from agent.command.described import fields_of
from agent.config.plugins import known_planners
from envs.errors import TelosError


@dataclass(frozen=True)
class Listing:
    """A table, and the text above it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    about: str = ""


def show(what: str, name: str | None, task: str | None, console: Console) -> None:
    """Print one table.

    Args:
        what: tasks, planners, models, costs, guardrails, presets, recipes, or signals.
        name: the planner or guardrail whose parameters are wanted.
        task: the task whose signals are wanted.
    """
    if task is not None and what != "signals":
        raise TelosError(f"list {what} --task", repr(task), "`telos list signals --task ID`")
    listing = _all(what, task) if name is None else _one(what, name)
    if listing.about:
        console.print(listing.about, highlight=False, markup=False)
        console.print()
    if not console.is_terminal:  # plain lines with tabs, for grep and cut
        for row in listing.rows:
            print("\t".join(row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(listing.columns):
        table.add_column(column, no_wrap=index == 0)
    for row in listing.rows:
        table.add_row(*row)
    console.print(table, highlight=False, markup=False)


def _all(what: str, task: str | None) -> Listing:
    """The table of everything of one kind."""
    if what == "tasks":
        return _tasks()
    if what == "planners":
        return _pairs("planner", "how it searches", {name: e.summary for name, e in known_planners().items()})
    if what == "models":
        from worldmodels import registry as models

        return _pairs("world model", "what it is", {name: e.summary for name, e in models.TABLE.entries().items()})
    if what == "costs":
        from agent.config.config import CostConfig

        return _pairs("cost", "what stands there", {n: str(f.description) for n, f in CostConfig.model_fields.items()})
    if what == "guardrails":
        from envs.guardrails.registry import describe

        return _pairs("guardrail", "what it holds", describe())
    if what == "presets":
        from agent.config.load import presets

        return _pairs("preset", "for", presets())
    if what == "recipes":
        from agent.learning.recipe import recipes

        return _pairs("recipe", "what it trains", recipes())
    from envs import registry
    from envs.physics import signals

    if task is None:
        raise TelosError("list signals", "no task", "`telos list signals --task ID`")
    return _pairs("signal", "unit", signals.available(registry.load(task).spec()))


def _pairs(name: str, about: str, rows: Mapping[str, str]) -> Listing:
    return Listing((name, about), tuple(rows.items()))


def _tasks() -> Listing:
    from agent.config.load import preset_of
    from envs import registry
    from envs.facts import FACTS

    rows = []
    for task, target in registry.table().items():
        facts = FACTS.get(task)
        if facts is None:  # the task comes from another package
            rows.append((task, "–", "–", "–", "–", f"from {target}"))
            continue
        sizes = (facts.observation, facts.action, f"{facts.control_period:g} s", facts.frames)
        rows.append((task, *map(str, sizes), preset_of(task)))
    return Listing(("task", "observation", "action", "control period", "frames", "preset"), tuple(rows))


def _one(what: str, name: str) -> Listing:
    """The parameters of one planner or guardrail, with the docstring of the planner's file or the guardrail's class."""
    if what == "planners":
        from planners import registry as planners

        if name not in known_planners():
            raise TelosError.unknown("list planners", name, known_planners(), "telos list planners")
        try:
            found = planners.load(name)
        except ValueError as error:
            raise TelosError("list planners", str(error), "a planner that can be loaded") from None
        about, parameters = inspect.getdoc(sys.modules[found.__module__]), found.Params
    elif what == "guardrails":
        from envs.guardrails.kinds import resolve

        parameters = resolve(name)
        about = inspect.getdoc(parameters)
    else:
        raise TelosError(f"list {what}", repr(name), "`telos list planners NAME` or `telos list guardrails NAME`")
    rows = tuple((field.name, field.default, field.meaning) for field in fields_of(parameters))
    return Listing(("parameter", "default", "meaning"), rows, about or "")
