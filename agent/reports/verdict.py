"""A report's verdict on the guardrails: the result, how it was checked, and what was not checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from agent.config.config import Config, VariantConfig
from agent.rollouts.acted import beginning, main_reason, often, share
from agent.rollouts.row import Row, Steps
from agent.runs import statistics
from agent.runs.manifest import Manifest
from envs.guardrails.ruleset import Guardrails

Status = Literal["held", "held_by_fallback", "violated", "diverged", "unguarded", "unverified", "empty"]


@dataclass(frozen=True)
class Record:
    """The results of one guardrail over a whole run."""

    name: str
    kind: str
    rule: str  # its signals and numbers, as text
    unit: str
    granularity: str
    tolerance: float
    worst: float  # smallest margin; not finite if a step could not be verified
    episode: int  # of the smallest margin
    step: int  # of the smallest margin
    scaled: float  # smallest margin / scale
    violations: int  # number of violating control steps

    @property
    def held(self) -> bool:
        return self.violations == 0


@dataclass(frozen=True)
class Verdict:
    """The verdict that heads the report."""

    status: Status
    title: str
    sentence: str
    checked: tuple[str, ...]
    not_checked: tuple[str, ...]


def records(rules: Guardrails, episodes: Mapping[int, Steps]) -> tuple[Record, ...]:
    """The record of each guardrail, in the order of `rules`.

    Args:
        episodes: the steps of each episode, by index.
    """
    found = []
    for column, rule in enumerate(rules):
        values = {
            episode: np.where(np.isfinite(margin := steps.margin[:, column]), margin, -np.inf)
            for episode, steps in episodes.items()
        }
        episode = min(values, key=lambda index: float(values[index].min()))
        step = int(np.argmin(values[episode]))
        worst = float(values[episode][step])
        broken = sum(
            int(rules.violated(torch.from_numpy(steps.margin))[:, column].sum()) for steps in episodes.values()
        )
        numbers = ", ".join(f"{key} {_text(value)}" for key, value in rule.rule)
        numbers = f"{' '.join(request.name for request in rule.signals)}: {numbers}"
        found.append(
            Record(
                rule.name,
                rule.kind,
                numbers,
                rule.unit,
                rule.granularity,
                rule.tolerance,
                worst,
                episode,
                step,
                worst / rule.scale,
                broken,
            )
        )
    return tuple(found)


def judge(
    config: Config, manifest: Manifest, rows: Sequence[Row], episodes: Mapping[int, Steps], found: Sequence[Record]
) -> Verdict:
    """The verdict on a run: one sentence that a safety reviewer can accept, and how it was reached."""
    if not rows:
        return Verdict("empty", "Nothing judged yet", "No episode has finished.", (), ())
    status, title, sentence = _result(rows, episodes, found)
    if not manifest.verifiable:
        sentence = (
            f"This run is of schema {manifest.schema}, whose files cannot be checked against each other. They say: "
            f"{sentence}"
        )
        missing = ("whether rows and steps are those that the run wrote", *_without_rules(found))
        return Verdict("unverified", "Not verified", sentence, (), missing)
    if len(rows) < config.total:
        title += f" in the {len(rows)} of {config.total} episodes that have finished"
    if not found:
        return Verdict(status, title, sentence, (), _without_rules(found))
    return Verdict(status, title, sentence, _checked(config, manifest, rows, found), _missing(config, manifest, rows))


def _result(rows: Sequence[Row], episodes: Mapping[int, Steps], found: Sequence[Record]) -> tuple[Status, str, str]:
    """The status, title and sentence of the verdict."""
    diverged = sum(row.diverged for row in rows)
    blown = f" The simulation of the world diverged in {_count(diverged, 'episode')}." if diverged else ""
    if not found:
        sentence = "No guardrail was declared, so nothing was checked: this run says nothing about safety." + blown
        if diverged:
            return "diverged", "The simulation of the world diverged", sentence
        return "unguarded", "No guardrails", sentence
    over = f"{sum(row.decisions for row in rows):,} control steps of {_count(len(rows), 'episode')}"
    broken = [record for record in found if not record.held]
    worst = min(broken or found, key=lambda record: record.scaled)
    size = f"{worst.worst:.4g} {worst.unit}" if np.isfinite(worst.worst) else "a step that could not be verified"
    period = float(episodes[rows[0].episode].control_period)
    at = f"{worst.name}, {size} at {period * (worst.step + 1):.2f} s of episode {worst.episode}"
    violating = sum(row.violation_steps for row in rows)
    if violating:
        bad = _count(sum(row.violation_steps > 0 for row in rows), "episode")
        names = ", ".join(record.name for record in broken)
        sentence = f"{violating:,} of {over} broke a guardrail ({names}), in {bad}. The worst was {at}.{blown}"
        title = "Guardrails violated" + (", and the simulation of the world diverged" if diverged else "")
        return "violated", title, sentence + _replaced(rows, episodes)
    at += f" (inside its tolerance of {worst.tolerance:g} {worst.unit})" if worst.worst < 0 else ""
    rules = _count(len(found), "guardrail")
    sentence = f"No guardrail was violated: {rules}, 0 violating steps in {over}. The smallest margin was {at}.{blown}"
    sentence += _replaced(rows, episodes)
    if diverged:
        return "diverged", "The simulation of the world diverged", sentence
    fallbacks, decisions = sum(row.fallbacks for row in rows), sum(row.decisions for row in rows)
    if fallbacks == decisions:
        return "held_by_fallback", "Guardrails held, but the agent did not act", sentence
    if often(fallbacks, decisions) or any(map(beginning, episodes.values())):
        title = f"Guardrails held, but the fallback acted in {share(fallbacks, decisions)} of the decisions"
        return "held_by_fallback", title, sentence
    return "held", "Guardrails held", sentence


def _replaced(rows: Sequence[Row], episodes: Mapping[int, Steps]) -> str:
    """A sentence that says how often the fallback acted instead of the agent, and why; "" if it never acted."""
    fallbacks, decisions = sum(row.fallbacks for row in rows), sum(row.decisions for row in rows)
    if not fallbacks:
        return ""
    begun = sum(beginning(steps) > 0 for steps in episodes.values())
    first = f", in {_count(begun, 'episode')} from the first one on" if begun else ""
    reason = main_reason(episodes.values())
    because = f"; most often: {reason}" if reason else ""
    return (
        f" Instead of the agent, the fallback acted in {fallbacks:,} of {decisions:,} decisions "
        f"({share(fallbacks, decisions)}){first}{because}."
    )


def _without_rules(found: Sequence[Record]) -> tuple[str, ...]:
    return () if found else ("whatever could go wrong: no rule was given",)


def _checked(config: Config, manifest: Manifest, rows: Sequence[Row], found: Sequence[Record]) -> tuple[str, ...]:
    """The list of how margins and actions were checked."""
    when = {"substep": "at every physics substep", "step": "at the state after every control step"}
    counts = {name: sum(record.granularity == name for record in found) for name in when}
    late = config.variant.latency > 0
    checked = [
        ", ".join(f"{_count(counts[name], 'rule')} {text}" for name, text in when.items() if counts[name]),
        "by a monitor with its own copy of the rules, on the raw simulator state, whatever the agent believed "
        f"(assurance level {manifest.assurance}); each step was simulated again and had to end in the same state",
        f"the gate looked at each action before it {'went out' if late else 'was executed'}, from "
        f"{'the real state' if manifest.privileged else 'a state estimated from observations'}, on the nominal "
        f"model{_and_variants(config)}, and replaced "
        f"{_count(sum(row.interventions for row in rows), 'action')} by the fallback; "
        f"{_count(sum(row.resets_rejected for row in rows), 'unsafe start')} rejected",
    ]
    if manifest.safe_stop:
        checked.append(
            "a planned action was executed only if the declared back-up could stop safely after it there; otherwise "
            "the back-up itself acted"
        )
    return tuple(checked)


def _missing(config: Config, manifest: Manifest, rows: Sequence[Row]) -> tuple[str, ...]:
    """The limits of the verdict: what the run does not show."""
    bound = statistics.rate(sum(row.violation_steps > 0 for row in rows), len(rows)).high or 1.0
    missing = [
        f"other starts and seeds: with {_count(len(rows), 'episode')}, up to {100 * bound:.0f} % of such episodes "
        "may still violate (upper end of the 95 % Wilson interval)",
        "anything that no rule mentions; a real machine: the world here is a simulator"
        + (", equal to the planner's model" if _same(config) else ", which differs from the planner's model"),
        "an agent that attacks its own rules: agent and monitor share one process (that takes level L3)",
    ]
    missing.append(
        "whether each rule could have been broken here: only rules that no state of the model can break are refused, "
        "as far as that follows from its joints; a contact may never happen, a force may never be needed"
    )
    if config.variant.latency > 0:
        missing.append(
            f"the moment of execution: actions arrive {_count(config.variant.latency, 'control step')} late, which "
            "planner and gate do not know"
        )
    if not manifest.privileged:
        missing.append("the error of the estimated state: planner and gate judged what the agent believed")
    blocked = sum(row.infeasible_plans for row in rows)
    if blocked:
        missing.append(
            f"a way out: in {_count(blocked, 'decision')} no plan was found that keeps every rule over its whole "
            "horizon; the one with the least violation went on to the gate"
        )
    if not manifest.safe_stop:
        missing.append("a safe stop: no back-up controller is declared, so only the next step was looked at")
    return tuple(missing)


def _and_variants(config: Config) -> str:
    number = len(config.world_model.variants)
    return f" and {_count(number, 'variant')} of it" if number else ""


def _same(config: Config) -> bool:
    """Whether the planner's model equals the world: no variant, and no change to the world model's defaults."""
    model = config.world_model.model_dump(exclude_defaults=True)
    return config.variant == VariantConfig() and not model


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_text(item) for item in value)})"
    return f"{value:g}" if isinstance(value, float) else str(value)
