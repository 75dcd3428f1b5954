"""The report is one self-contained file with everything that a safety reviewer needs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from agent.config import resolved
from agent.config.config import VariantConfig
from agent.reports import explain_plot, plots
from agent.reports.verdict import judge, records
from agent.rollouts.row import Row, Steps
from agent.runs import statistics
from agent.runs.rundir import RunDir
from tests.cli.conftest import following, forged


class References(HTMLParser):
    """Everything in a page that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object", "base"), tag
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "poster", "data")]


@pytest.fixture(scope="module")
def html(finished: Path) -> str:
    return (finished / "report.html").read_text()


def test_it_is_self_contained(html: str) -> None:
    page = References()
    page.feed(html)
    assert len(page.found) >= 3
    assert all(reference.startswith("data:") for reference in page.found)
    assert not re.search(r"https?://|url\(|@import", html)


def test_its_pictures_are_pictures(html: str) -> None:
    pictures = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]+)", html)]
    assert len(pictures) == 3  # margins, curves, planning time
    assert all(data.startswith(b"\x89PNG") for data in pictures)


def test_it_says_what_matters(html: str, finished: Path) -> None:
    rundir = RunDir.open(finished)
    for text in (rundir.manifest.guardrails_sha256, "telos run", "cartpole-swingup", "icem", "rail", "L2", "torch"):
        assert text in html
    for row in rundir.rows():
        assert f"<b>{row.return_:.1f}</b>" in html
    assert "What this does not show" in html


def test_the_verdict_follows_the_monitor(finished: Path) -> None:
    rundir = RunDir.open(finished)
    rows, rules = rundir.rows(), resolved.guardrails(rundir.config)
    episodes = {row.episode: rundir.steps(row.episode) for row in rows}
    found = judge(rundir.config, rundir.manifest, rows, episodes, records(rules, episodes))
    broken = sum(row.violation_steps for row in rows)
    assert found.status == ("violated" if broken else "held")
    safe = [type(row)(**{**vars(row), "violation_steps": 0}) for row in rows]
    held = judge(rundir.config, rundir.manifest, safe, episodes, records(rules, episodes))
    assert held.status == "held"
    assert "0 violating steps in 60 control steps of 3 episodes" in held.sentence
    bad = [type(row)(**{**vars(row), "violation_steps": 2}) for row in rows]
    assert judge(rundir.config, rundir.manifest, bad, episodes, records(rules, episodes)).status == "violated"
    assert judge(rundir.config, rundir.manifest, rows, episodes, ()).status == "unguarded"


def test_the_verdict_says_in_which_worlds_the_gate_tried(finished: Path) -> None:
    rundir = RunDir.open(finished)
    rows, rules = rundir.rows(), resolved.guardrails(rundir.config)
    episodes = {row.episode: rundir.steps(row.episode) for row in rows}
    variants = tuple(VariantConfig(mass=mass) for mass in (0.7, 1.3))
    worlds = rundir.config.world_model.model_copy(update={"variants": variants})
    for model, words in ((rundir.config.world_model, "model, and"), (worlds, "model and 2 variants of it, and")):
        config = rundir.config.model_copy(update={"world_model": model})
        checked = judge(config, rundir.manifest, rows, episodes, records(rules, episodes)).checked
        assert any("the gate looked at each action" in text and f"on the nominal {words}" in text for text in checked)


def test_a_margin_that_could_not_be_verified_is_the_worst(finished: Path) -> None:
    rundir = RunDir.open(finished)
    steps = rundir.steps(0)
    steps.margin[5, 1] = np.nan
    found = records(resolved.guardrails(rundir.config), {0: steps, 1: rundir.steps(1)})
    assert (found[1].worst, found[1].episode, found[1].step) == (-np.inf, 0, 5)
    assert not found[1].held


def test_report_of_a_run_that_has_not_finished(telos, copy: Path) -> None:
    file = copy / "episodes.jsonl"
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])
    assert telos("report", copy).out.strip() == str(copy / "report.html")
    assert "not finished" in (copy / "report.html").read_text()
    file.write_bytes(b"")
    assert telos("report", copy).status == 0
    assert "No episode has finished" in (copy / "report.html").read_text()


def test_episodes_are_told_by_their_index(telos, copy: Path) -> None:
    """Episodes finish in any order: the first may be the only one that is missing."""

    def change(row: Row, steps: Steps) -> tuple[Row, Steps]:
        if row.episode == 1:
            steps.intervened[3], steps.margin[5, 0], steps.violated[5] = True, -9.0, True
        return following(row, steps)

    rundir = forged(copy, change)
    file, steps = copy / "episodes.jsonl", rundir.steps(1)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[1:]))
    assert telos("report", copy).status == 0
    html = (copy / "report.html").read_text()
    assert f"{copy} --episode 1 --step 0" in html
    assert "the strong one is episode 1," in html
    assert "s of episode 1" in html
    assert f"<td>episode 1, {6 * float(steps.control_period):.2f} s</td>" in html
    assert "<tr><td>1</td><td>3</td>" in html, "why the gate intervened"


def test_intervals() -> None:
    one = statistics.mean([3.0])
    assert (one.mean, one.low, one.high, one.n) == (3.0, None, None, 1)
    many = statistics.mean(list(np.random.default_rng(1).normal(5, 1, 400)))
    assert many.low is not None
    assert many.high is not None
    assert many.low < 5.0 < many.high
    assert many.high - many.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    few = statistics.mean([1.0, 2.0, 6.0])
    expected = stats.t.interval(0.95, 2, loc=3.0, scale=stats.sem([1.0, 2.0, 6.0]))
    assert (few.low, few.high) == pytest.approx(expected)
    same = statistics.mean([2.0, 2.0])
    assert (same.low, same.high) == (2.0, 2.0)
    none = statistics.rate(0, 20)
    assert none.low == pytest.approx(0, abs=1e-12)
    assert none.high == pytest.approx(0.1611, abs=1e-3)
    assert statistics.mean([1.0, -np.inf]).low is None


@pytest.mark.parametrize("sizes", [(3,), (5,), (3, 3, 3), (2, 6)])
def test_intervals_hold_what_they_promise(sizes: tuple[int, ...]) -> None:
    """In 95 % of 2,000 experiments with normal values of unequal spread, the interval contains the mean."""
    rng = np.random.default_rng(0)
    spread = 1.0 + np.arange(len(sizes))
    found = [
        statistics.mean_of_means([rng.normal(5.0, s, n).tolist() for s, n in zip(spread, sizes, strict=True)])
        for _ in range(2_000)
    ]
    held = np.mean([one.low is not None and one.high is not None and one.low <= 5.0 <= one.high for one in found])
    assert 0.93 <= held <= 0.98


def test_the_interval_of_two_groups_is_welch_s() -> None:
    a, b = [1.0, 2.0, 4.0, 9.0], [3.0, 5.0]
    difference = stats.ttest_ind(a, [-x for x in b], equal_var=False).confidence_interval(0.95)  # of the sum of both
    both = statistics.mean_of_means([a, b])
    assert (both.low, both.high) == pytest.approx((difference.low / 2, difference.high / 2))
    assert statistics.mean_of_means([a, [3.0]]).low is None
    assert statistics.mean_of_means([a, []]).n == 4


ODD = ("$x$", "rail $x^2", "$\\frac{", "a_b^c", "100 %", "<b>bold</b>", "数")


def test_names_are_literal_text_in_plots(telos, config_file: Path, tmp_path: Path, monkeypatch) -> None:
    """Names that matplotlib's formula parser would interpret or refuse are drawn literally."""
    kinds = {"kind": "joint_position", "joint": "slider", "lower": -1.5, "upper": 1.5, "unit": "m", "scale": 0.1}
    rules = json.dumps([{**kinds, "name": name} for name in ODD])
    texts: set[str] = set()
    real = Axes.set_title

    def titled(axes: Axes, label: str, *args: Any, **more: Any) -> Any:
        text = real(axes, label, *args, **more)
        texts.add(text.get_text())
        assert not text.get_parse_math()
        return text

    monkeypatch.setattr(Axes, "set_title", titled)
    run = ("run", config_file, "--episodes=1", "--frames=2", "--video=false", f"--guardrails={rules}")
    assert telos(*run, "--out", tmp_path / "run").status == 0
    assert set(ODD) <= texts
    html = (tmp_path / "run" / "report.html").read_text()
    assert "could not be drawn" not in html
    assert telos("explain", tmp_path / "run", "--step", 1).status == 0


def test_a_plot_that_cannot_be_drawn_does_not_stop_the_report(
    telos, config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> NoReturn:
        raise ValueError("Axis limits cannot be NaN or Inf")

    monkeypatch.setattr(plots, "margins", fails)
    monkeypatch.setattr(explain_plot, "draw", fails)
    run = ("run", config_file, "--episodes=1", "--frames=2", "--video=false")
    assert telos(*run, "--out", tmp_path / "run").status == 0
    html = (tmp_path / "run" / "report.html").read_text()
    assert "This plot could not be drawn: ValueError: Axis limits cannot be NaN or Inf" in html
    assert len(re.findall("data:image/png", html)) == 2, "the others are there"
    done = telos("explain", tmp_path / "run", "--step", 1)
    assert done.status == 0
    assert "no picture: ValueError" in done.out


def test_times_far_apart_have_plain_labels() -> None:
    """A logarithmic axis would label itself with formulas, which would appear as raw text."""
    shown: list[str] = []
    steps = [SimpleNamespace(plan_ms=np.array([0.1, 1.0, 900.0]), control_period=np.array(0.01))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "png", lambda draw, *size: shown.extend(_labels(draw)) or b"")
        plots.planning_time(steps)  # type: ignore[arg-type]
    assert {"0.1", "1", "10", "100"} <= set(shown)
    assert not any("$" in label for label in shown)


def _labels(draw: Callable[[Figure], None]) -> list[str]:
    figure = Figure()
    FigureCanvasAgg(figure)
    draw(figure)
    figure.canvas.draw()
    return [text.get_text() for text in figure.axes[0].get_xticklabels(which="both")]
