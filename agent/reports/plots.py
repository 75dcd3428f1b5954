"""The pictures of a report as PNG: time in seconds, margins in their units, each colour with one meaning."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from agent.rollouts.row import Steps
from envs.guardrails.guardrail import Guardrail

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1d2733", "#66717f", "#e6e9ee"
BLUE, RED, AMBER, GREEN = "#2563a8", "#c62f2f", "#d98a00", "#2a8a4a"
MAX_LINES = 60  # maximum number of episodes drawn
STYLE: Any = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a $ in a user's name is a dollar sign
}


def png(draw: Callable[[Figure], None], width: float, height: float) -> bytes:
    """The PNG of what `draw` puts on a figure of this size in inches; opens no window, changes no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # characters that the font lacks are drawn as boxes
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def inline(data: bytes, kind: str = "image/png") -> str:
    """The data as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def curves(episodes: Sequence[Steps], mark: int) -> bytes:
    """Plot the return so far and the cost of each published plan over time; episode `mark` is highlighted."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        for index, steps in _drawn(episodes, mark):
            time = _time(steps)
            _line(left, time, np.cumsum(steps.reward), index == mark, len(episodes))
            _line(right, time, steps.plan_cost, index == mark, len(episodes))
        left.set(title="Return so far", xlabel="s", ylabel="sum of rewards")
        right.set(title="Cost of each plan", xlabel="s", ylabel="objective")

    return png(draw, 9.6, 2.9)


def margins(rules: Sequence[Guardrail], columns: Sequence[int], episodes: Sequence[Steps], mark: int) -> bytes:
    """Plot each guardrail's margin over time with its limit, and mark interventions of the gate and violations.

    Args:
        rules, columns: the guardrails to draw, and the column of each in `Steps.margin`.
        mark: the highlighted episode.
    """
    rows = -(-len(rules) // 2)

    def draw(figure: Figure) -> None:
        cells = figure.subplots(rows, min(2, len(rules)), squeeze=False, sharex=True).ravel()
        for cell, rule, column in zip(cells, rules, columns, strict=False):
            _margin(cell, rule, column, episodes, mark)
        for cell in cells[len(rules) :]:
            cell.set_visible(False)
        for cell in cells[max(0, len(rules) - 2) : len(rules)]:
            cell.set_xlabel("s")
            cell.tick_params(labelbottom=True)
        handles, labels = cells[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))

    return png(draw, 9.6, 0.35 + 2.2 * rows)


def _margin(cell: Axes, rule: Guardrail, column: int, episodes: Sequence[Steps], mark: int) -> None:
    finite = np.concatenate([steps.margin[:, column] for steps in episodes])
    finite = finite[np.isfinite(finite)]
    top, bottom = (float(finite.max()), float(finite.min())) if len(finite) else (rule.scale, 0.0)
    top, bottom = max(top, rule.tolerance, 0.0), min(bottom, -rule.tolerance)
    room = (top - bottom or rule.scale) * 0.12
    low, high = bottom - 1.3 * room, top + room
    cell.axhspan(low, -rule.tolerance, color=RED, alpha=0.09, lw=0)
    cell.axhline(0, color=RED, lw=1.2, label="limit (margin 0)")
    if rule.tolerance > 0:
        cell.axhline(-rule.tolerance, color=RED, lw=1, ls="--", label="limit − tolerance")
    for index, steps in _drawn(episodes, mark):
        time, values = _time(steps), steps.margin[:, column]
        _line(cell, time, np.where(np.isfinite(values), values, np.nan), index == mark, len(episodes))
    marks = (("intervened", "v", AMBER, "gate intervened"), ("violated", "X", RED, "violation"))
    for field, shape, color, label in marks:
        times, heights = [np.zeros(0)], [np.zeros(0)]
        for steps in episodes:
            values = steps.margin[:, column]
            hit = getattr(steps, field)
            if field == "violated":
                hit = ~((values >= -rule.tolerance) & np.isfinite(values))
            times.append(_time(steps)[hit])
            heights.append(np.nan_to_num(values[hit], nan=low, posinf=high, neginf=low))
        if any(map(len, times)) or cell.get_subplotspec().num1 == 0:  # type: ignore[union-attr]
            cell.scatter(
                np.concatenate(times), np.concatenate(heights), s=16, marker=shape, color=color, label=label, zorder=3
            )
    cell.set(title=rule.name, ylabel=rule.unit, ylim=(low, high))


def planning_time(episodes: Sequence[Steps]) -> bytes:
    """Plot a histogram of planning times, with the control period."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    values = np.concatenate([steps.plan_ms for steps in episodes])
    period = 1e3 * float(episodes[0].control_period)

    def draw(figure: Figure) -> None:
        cell = figure.subplots()
        low, high = max(values.min(), 1e-3), np.percentile(values, 99.5) * 1.05
        wide = high / low > 30
        bins = np.geomspace(low, high, 50) if wide else np.linspace(0, high, 50)
        cell.hist(np.minimum(values, high), bins=list(bins), color=BLUE, alpha=0.85)
        median, late = np.median(values), np.percentile(values, 95)
        cell.axvline(median, color=INK, lw=1.2, label=f"median {median:.1f} ms")
        cell.axvline(late, color=INK, lw=1.2, ls=":", label=f"95th percentile {late:.1f} ms")
        cell.axvline(period, color=GREEN, lw=1.4, ls="--", label=f"control period {period:.3g} ms (real time)")
        cell.set(xlabel="ms per decision", ylabel="decisions")
        if wide:
            cell.set_xscale("log")
            cell.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))  # the default one writes powers of ten as math
            cell.xaxis.set_minor_formatter(NullFormatter())
        figure.legend(loc="outside upper left")

    return png(draw, 4.7, 3.3)


def _drawn(episodes: Sequence[Steps], mark: int) -> list[tuple[int, Steps]]:
    """The episodes to draw; the highlighted one comes last, on top."""
    shown = [(index, steps) for index, steps in enumerate(episodes) if index != mark][: MAX_LINES - 1]
    return [*shown, (mark, episodes[mark])]


def _line(cell: Axes, time: np.ndarray, values: np.ndarray, strong: bool, count: int) -> None:
    width, alpha = (1.5, 1.0) if strong else (0.8, max(0.15, min(0.5, 6 / count)))
    cell.plot(time, values, color=BLUE, lw=width, alpha=alpha, solid_capstyle="round")


def _time(steps: Steps) -> np.ndarray:
    return float(steps.control_period) * np.arange(1, len(steps) + 1)
