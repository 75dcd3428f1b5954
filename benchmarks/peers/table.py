"""The table of `telos bench peers`, and the rows that miss its goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

GOAL = 0.7  # at most this share of judo's decision latency


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| peer | task | candidates × horizon | CPUs | threads, telos | threads, peer | decision, telos, ms | peer, ms "
        "| telos / peer [rounds] | rollouts alone, telos, million steps / s | peer | telos / peer | costs differ by |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        low, high = row["decision_ratio_of_rounds"]
        lines.append(
            f"| {row['peer']} | {row['task']} | {row['candidates']} × {row['horizon']} | {row['cpus']} "
            f"| {row['threads']['telos']} | {row['threads']['peer']} "
            f"| {row['telos_decision_ms']:.2f} | {row['peer_decision_ms']:.2f} "
            f"| {row['decision_ratio']:.2f} [{low:.2f}, {high:.2f}] "
            f"| {row['telos_steps_per_second'] / 1e6:.3f} | {row['peer_steps_per_second'] / 1e6:.3f} "
            f"| {row['steps_ratio']:.2f} | {row['costs_differ']:.1g} |"
        )
    return "\n".join(lines)


def shortfall(found: Sequence[Mapping[str, Any]]) -> str:
    """Sentences on which rows miss the goal against judo, and on the versions and machine of the rows."""
    if not found:
        return "Not measured."
    judo = [row for row in found if row["peer"].startswith("judo")]
    short = [
        f"{row['task']} on {row['cpus']} CPU{'s' if row['cpus'] > 1 else ''} against {row['peer_threads']} "
        f"thread{'s' if row['peer_threads'] > 1 else ''} ({row['decision_ratio']:.2f}, floor {row['floor_ratio']:.2f})"
        for row in judo
        if row["decision_ratio"] > GOAL
    ]
    goal = f"the goal of at most {GOAL} of judo's decision latency"
    floor = "The floor is the time of telos's own rollouts alone, without anything else that a decision does."
    said = f"Short of {goal}: {', '.join(short)}. {floor}" if short else f"Every row reaches {goal}."
    return " ".join([*([said] if judo else []), *dict.fromkeys(map(_measured_with, found))])


def _measured_with(row: Mapping[str, Any]) -> str:
    """A sentence on a row's versions and machine."""

    def listed(versions: Mapping[str, str]) -> str:
        return ", ".join(f"{name} {version}" for name, version in versions.items())

    versions = row["versions"]
    return f"telos with {listed(versions['telos'])}; the peer is {listed(versions['peer'])}; {row['machine']}."
