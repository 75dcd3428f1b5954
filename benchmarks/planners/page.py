"""The planner benchmark as one self-contained HTML page: pictures first, then every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.reports import plots
from benchmarks.planners.scores import REFERENCE, Cell, cells, interval, normalised, profile, published, random_return

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = np.linspace(0, 1.2, 121)
COLOURS = (plots.BLUE, plots.RED, plots.GREEN, plots.AMBER, "#7a4fb5", "#1a8f8f", "#8a5a2b", "#c2508f", "#5a6b1f")


def write(found: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write the page of these rows to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(found), encoding="utf-8")
    return path


def render(found: Sequence[Mapping[str, Any]]) -> str:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    all_ = cells(found)
    template = Environment(
        loader=PackageLoader("benchmarks.planners", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("page.html.j2")
    parts = []
    for match in ("steps", "time"):
        mine = [cell for cell in all_ if cell.match == match and cell.physics_steps > 0]
        if mine:
            parts.append({"match": match, "cells": sorted(mine, key=_place), "pictures": _pictures(mine, all_)})
    return template.render(
        parts=parts,
        published=published(),
        reference=REFERENCE,
        random=lambda cell: random_return(cell.task, all_),
        score=lambda cell: float(np.mean(normalised(cell, all_))),
        interval=interval,
    )


def _place(cell: Cell) -> tuple[str, float]:
    return cell.task, -cell.estimate.mean


def _pictures(mine: Sequence[Cell], all_: Sequence[Cell]) -> dict[str, str]:
    """The pictures as data URIs, by name."""
    tasks = sorted({cell.task for cell in mine})
    pictures = {"returns": plots.png(lambda figure: _returns(figure, mine, tasks), 9, 1.2 + 0.34 * len(tasks))}
    scored = {
        name: [normalised(cell, all_) for cell in mine if cell.label == name]
        for name in dict.fromkeys(cell.label for cell in mine)
    }
    whole = {name: scores for name, scores in scored.items() if scores and not np.isnan(np.concatenate(scores)).any()}
    if whole:
        pictures["profile"] = plots.png(lambda figure: _profiles(figure, whole), 5.5, 3)
    return {name: plots.inline(data) for name, data in pictures.items()}


def _returns(figure: Figure, mine: Sequence[Cell], tasks: Sequence[str]) -> None:
    """Draw mean returns with their intervals, and the published values."""
    axes = figure.add_subplot()
    names = list(dict.fromkeys(cell.label for cell in mine))
    for cell in mine:
        index = names.index(cell.label)
        y = tasks.index(cell.task) + (index - (len(names) - 1) / 2) * 0.7 / len(names)
        estimate = cell.estimate
        if estimate.low is not None and estimate.high is not None:
            bar = [estimate.low, estimate.high]
            axes.plot(bar, [y, y], color=_colour(index), linewidth=1, alpha=0.5, solid_capstyle="butt")
        axes.plot(cell.returns, [y] * len(cell.returns), "|", color=_colour(index), markersize=4)
        axes.plot(estimate.mean, y, "o", color=_colour(index), markersize=4)
    for row, task in enumerate(tasks):
        if task in published():
            axes.plot(
                published()[task].values[REFERENCE], row, "|", color=plots.INK, markersize=16, markeredgewidth=1.5
            )
    handles = [axes.plot([], [], "o", color=_colour(index), markersize=4)[0] for index in range(len(names))]
    handles.append(axes.plot([], [], "|", color=plots.INK, markersize=9)[0])
    axes.legend(handles, [*names, "TD-MPC2, last value"], loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.set_yticks(range(len(tasks)), tasks)
    axes.set_xlim(0, 1010)
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.set_xlabel("return over 1,000 frames; dots: mean; ticks: episodes; bars: 95 % interval of the mean")


def _profiles(figure: Figure, scored: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Draw the share of runs above each normalised score."""
    axes = figure.add_subplot()
    for index, (name, scores) in enumerate(scored.items()):
        axes.plot(LEVELS, profile(scores, LEVELS), color=_colour(index), label=name, linewidth=1.6)
    axes.set_xlabel("normalised return: 0 random actions, 1 best published")
    axes.set_ylabel("share of runs above it")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(0, float(LEVELS[-1]))
    axes.legend(loc="lower left")


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
