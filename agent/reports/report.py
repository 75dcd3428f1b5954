"""report.html: one self-contained file with a run's configuration, its results, and whether the guardrails held."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.config.config import Config
from agent.reports import plots
from agent.reports.verdict import Record, judge, records
from agent.rollouts.row import Row, Steps
from agent.runs import integrity, seeds, statistics
from agent.runs.rundir import RunDir
from agent.runs.statistics import Estimate
from envs import yaml_file
from envs.files import write, writing
from envs.guardrails.ruleset import Guardrails

MAX_PLOTS = 12  # maximum number of guardrails plotted; those with the least scaled margins. The table lists all.
MAX_VIDEO_BYTES = 20_000_000


@dataclass(frozen=True)
class Card:
    """One of the key figures at the top of the report."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Picture:
    """A plot, or the reason why it could not be drawn."""

    uri: str  # data URI; "" if it could not be drawn
    problem: str


def write_report(rundir: RunDir) -> Path:
    """Write report.html from the content of the run directory; the run need not be finished.

    Raises:
        TelosError: the files of the directory do not fit each other, or report.html cannot be written.
    """
    path = rundir.path / "report.html"
    write(path, render_report(rundir).encode(errors="replace"))  # it contains the path, which may not be valid UTF-8
    return path


def render_report(rundir: RunDir) -> str:
    """The report as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    rules = integrity.rules_of(rundir)
    checked = list(integrity.episodes(rundir, rules))
    rows, episodes = [row for row, _ in checked], {row.episode: steps for row, steps in checked}
    first = rows[0].episode if rows else 0
    found = records(rules, episodes) if rows else ()
    config = rundir.config
    pictures, mark = _pictures(rules, found, episodes)
    template = Environment(
        loader=PackageLoader("agent.reports", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("report.html.j2")
    return template.render(
        config=config,
        manifest=rundir.manifest,
        rows=rows,
        seeds=seeds.title(config),
        by_seed=seeds.by_seed(rows) if config.seeds else (),
        title=config.task.removeprefix("dm_control/").removesuffix("-v0"),
        cards=_cards(rows, episodes, found),
        verdict=judge(config, rundir.manifest, rows, episodes, found),
        records=found,
        closest=[_closest(row, rules) for row in rows],
        seconds=[float(steps.control_period) * len(steps) for steps in episodes.values()],
        period=float(episodes[first].control_period) if episodes else 0.0,
        pictures=pictures,
        mark=mark,
        hidden=max(0, len(found) - MAX_PLOTS),
        video=_video(rundir),
        reasons=_reasons(episodes),
        command=f"telos run {shlex.quote(str(rundir.path / 'config.yaml'))} --out AGAIN",
        explain=f"telos explain {shlex.quote(str(rundir.path))} --episode {first} --step 0",
        fingerprint=integrity.fingerprint(rundir, rows),
        yaml=_yaml(config),
    )


def _yaml(config: Config) -> str:
    """The configuration as YAML; the text does not depend on the order of keys in config.yaml."""
    values = config.model_dump(mode="json")
    return yaml_file.dump({name: json.loads(json.dumps(value, sort_keys=True)) for name, value in values.items()})


def _cards(rows: Sequence[Row], episodes: Mapping[int, Steps], found: Sequence[Record]) -> list[Card]:
    if not rows:
        return []
    estimates = statistics.summarise(rows)
    violated = sum(row.violation_steps > 0 for row in rows)
    cards = [
        Card("Return", f"{estimates['return'].mean:.1f}", _interval(estimates["return"], ".1f")),
        Card("Violating steps", str(sum(row.violation_steps for row in rows)), f"in {violated} of {len(rows)} episodes")
        if found
        else Card("Violating steps", "–", "no guardrails"),
    ]
    if found:
        worst = min(found, key=lambda record: record.scaled)
        cards.append(
            Card("Smallest margin", f"{worst.worst:.3g}".replace("-inf", "none"), f"{worst.unit}, {worst.name}")
        )
    if rows[0].goal:
        firsts = [row.reached["first"] for row in rows if not math.isnan(row.reached["first"])]
        when = f"after {np.median(firsts):.0f} steps (median); " if firsts else ""
        cards.append(Card("Goal reached", f"{len(firsts)} of {len(rows)}", f"{when}{rows[0].goal}"))
    physics, fraction = estimates["model_steps_per_decision"], estimates["simulator_fraction"].mean
    # Over all decisions, as in the report's histogram.
    median, late = np.percentile(np.concatenate([steps.plan_ms for steps in episodes.values()]), [50, 95])
    cards += [
        Card("Planning per decision", f"{median:.1f} ms", f"median; 95th percentile {late:.1f} ms"),
        Card("Search per decision", f"{physics.mean:,.0f}", _effort(rows[0].world_model, fraction)),
        Card(
            "Interventions",
            str(sum(row.interventions for row in rows)),
            f"of the gate; the fallback acted {sum(row.fallbacks for row in rows)} times",
        ),
    ]
    return cards


def _effort(model: str, fraction: float) -> str:
    """The unit of what a search cost, and the share of the time that MuJoCo's own code took."""
    return f"physics steps; {100 * fraction:.0f} % of the time in C" if model == "simulator" else "imagined steps"


def _interval(estimate: Estimate, form: str) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.n} episode: no interval" if estimate.n == 1 else "no interval"
    return f"mean of {estimate.n}; 95 %: {estimate.low:{form}} to {estimate.high:{form}}"


def _pictures(
    rules: Guardrails, found: Sequence[Record], episodes: Mapping[int, Steps]
) -> tuple[dict[str, Picture], int]:
    """The pictures by name (curves, planning, margins), and the index of the episode highlighted in them."""
    if not episodes:
        return {}, 0
    order = sorted(range(len(found)), key=lambda index: found[index].scaled)[:MAX_PLOTS]
    indices, drawn = list(episodes), list(episodes.values())
    mark = found[order[0]].episode if order else indices[0]
    place = indices.index(mark)
    pictures = {
        "curves": _picture(lambda: plots.curves(drawn, place)),
        "planning": _picture(lambda: plots.planning_time(drawn)),
    }
    if order:
        members = [list(rules)[index] for index in order]
        pictures["margins"] = _picture(lambda: plots.margins(members, order, drawn, place))
    return pictures, mark


def _picture(draw: Callable[[], bytes]) -> Picture:
    """The picture that `draw` makes, or why it failed: matplotlib's axes fail on numbers near the limits of floats."""
    try:
        return Picture(plots.inline(draw()), "")
    except Exception as error:
        return Picture("", " ".join(f"{type(error).__name__}: {error}".split()))


def _video(rundir: RunDir) -> str | None:
    file = rundir.video_file(0)
    with writing(file):
        if not file.is_file() or file.stat().st_size > MAX_VIDEO_BYTES:
            return None
        return plots.inline(file.read_bytes(), "video/mp4")


def _closest(row: Row, rules: Guardrails) -> str:
    """The margin of the guardrail to which an episode came closest, as text."""
    if not row.min_margin:
        return "–"
    rule = min(rules, key=lambda rule: row.min_margin[rule.name] / rule.scale)
    return f"{row.min_margin[rule.name]:.4g} {rule.unit} ({rule.name})"


def _reasons(episodes: Mapping[int, Steps]) -> list[tuple[int, int, str]]:
    """Episode, step and reason of the gate's first 200 interventions."""
    return [
        (index, step, str(steps.reasons[step]))
        for index, steps in episodes.items()
        for step in steps.intervened.nonzero()[0].tolist()
    ][:200]
