"""The picture of one decision: costs of all candidates, the published plan, imagined margins over the horizon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from agent.reports.plots import AMBER, BLUE, GREEN, INK, MUTED, RED, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from agent.reports.explanation import Explanation

MAX_MARGINS = 6  # maximum number of guardrails drawn; those to which the published plan comes closest
MAX_ACTIONS = 8  # maximum number of action components drawn


def draw(found: Explanation, shown: Sequence[int]) -> bytes:
    """The picture of a decision as PNG.

    Args:
        shown: candidates whose margins are drawn over the horizon.
    """
    problem, plan = found.decision.problem, found.decision.plan
    rules = list(problem.judge.guardrails)
    closest = np.argsort(plan.margin.numpy() / problem.limits.scale.numpy(), kind="stable")[:MAX_MARGINS]
    curves = None
    if len(closest):  # the published plan comes last
        actions = torch.cat([found.population.actions[list(shown)], plan.actions[None]])
        curves = problem.judge.margins(problem.imagine(actions)).numpy()
    rows = 1 + -(-len(closest) // 2)

    def panels(figure: Figure) -> None:
        figure.suptitle(
            f"{found.decision.planner}, episode {found.episode}, step {found.step}", x=0.01, ha="left", color=INK
        )
        cells = figure.subplots(rows, 2, squeeze=False)
        _costs(cells[0, 0], found)
        _actions(cells[0, 1], found)
        lower = cells[1:].ravel()
        for cell, column in zip(lower, closest.tolist(), strict=False):
            assert curves is not None
            _margins(cell, rules[column].tolerance, curves[:, :, column], shown, found)
            cell.set(title=f"Imagined margin: {rules[column].name}", ylabel=rules[column].unit, xlabel="s ahead")
        for cell in lower[len(closest) :]:
            cell.set_visible(False)

    return png(panels, 9.6, 0.4 + 2.6 * rows)


def _costs(cell: Axes, found: Explanation) -> None:
    population = found.population
    cost, feasible = population.cost.numpy(), population.feasible.numpy()
    finite = np.isfinite(cost)
    if finite.any():
        bins = np.histogram_bin_edges(cost[finite], 40)
        groups = [cost[finite & feasible], cost[finite & ~feasible]]
        labels = [f"feasible ({len(groups[0])})", f"breaks a guardrail ({len(groups[1])})"]
        cell.hist(groups, bins=list(bins), stacked=True, color=[BLUE, RED], alpha=0.85, label=labels)
    if np.isfinite(found.decision.plan.cost):
        cell.axvline(found.decision.plan.cost, color=INK, lw=1.5, label="published plan")
    for index, name in found.named.items():
        if np.isfinite(cost[index]) and "published" not in name:
            cell.axvline(cost[index], color=AMBER if name == "fallback" else MUTED, lw=1.3, ls="--", label=name)
    cell.set(title="Cost of all candidates", xlabel="objective", ylabel="candidates")
    cell.legend()


def _actions(cell: Axes, found: Explanation) -> None:
    plan = found.decision.plan
    time = plan.dt * np.arange(len(plan.actions))
    for component in range(min(plan.actions.shape[1], MAX_ACTIONS)):
        line = cell.step(time, plan.actions[:, component].numpy(), where="post", lw=1.4, alpha=0.9)[0]
        executed = found.executed[component]
        cell.scatter([0], [executed], color=line.get_color(), s=28, zorder=3, clip_on=False)
    cell.scatter([], [], color=INK, s=28, label="executed")
    if found.intervened:
        cell.scatter([], [], color="none", label="(the gate replaced the plan's action)")
    cell.set(title="Published plan", xlabel="s ahead", ylabel="action", ylim=(-1.08, 1.08))
    cell.legend(loc="lower right")


def _margins(cell: Axes, tolerance: float, curves: np.ndarray, shown: Sequence[int], found: Explanation) -> None:
    """Draw one guardrail's margins, `curves` (C,H): those of the shown candidates, and last the published plan's."""
    time = found.decision.plan.dt * np.arange(1, curves.shape[1] + 1)
    curves = np.where(np.isfinite(curves), curves, np.nan)
    low, high = np.nanmin(curves, initial=-tolerance), np.nanmax(curves, initial=0.0)
    room = 0.12 * (high - low or 1.0)
    cell.axhspan(low - room, -tolerance, color=RED, alpha=0.09, lw=0)
    cell.axhline(0, color=RED, lw=1.2)
    if tolerance > 0:
        cell.axhline(-tolerance, color=RED, lw=1, ls="--")
    for values, index in zip(curves, shown, strict=False):
        name = found.named.get(index, "")
        if "published" in name:
            continue
        color = AMBER if name == "fallback" else GREEN if name == "previous" else MUTED
        cell.plot(time, values, color=color, lw=1.1 if name else 0.7, alpha=0.9 if name else 0.5, label=name or None)
    cell.plot(time, curves[-1], color=BLUE, lw=1.9, label="published")
    cell.set_ylim(low - room, high + room)
    cell.legend(loc="best")
