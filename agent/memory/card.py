"""The card of a store: who collected it, what it covers, and how often a guardrail was violated."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from agent.memory.store import Store
from envs.errors import TelosError

BINS = 10  # of an observed number's range, by which its coverage is measured
VISITED = 1e-3  # share of the frames that a bin holds at least to count as visited


@dataclass(frozen=True)
class Card:
    """What a store holds."""

    task: str
    episodes: int
    frames: int
    decisions: int  # control steps; telos repeats no action
    seconds: float  # simulated
    actors: dict[str, int]  # who acted -> frames
    seeds: str  # of the resets
    terminated: int  # episodes
    returns: tuple[float, float, float]  # least, median, largest
    coverage: dict[str, tuple[float, float, float]]  # observed number -> least, largest, share of its bins visited
    guardrails: tuple[str, ...]
    guardrails_sha256: str
    violating: float  # share of the steps in which a guardrail was violated; NaN without any
    sha256: str

    def text(self) -> str:
        """The card as Markdown."""
        mix = ", ".join(f"{name} {100 * number / self.frames:.0f} %" for name, number in self.actors.items())
        rules = ", ".join(self.guardrails) or "none"
        violating = "" if np.isnan(self.violating) else f"; violated in {100 * self.violating:.2g} % of the steps"
        lines = [
            f"# Store of {self.task}",
            "",
            "| | |",
            "|---|---|",
            f"| episodes | {self.episodes:,}, {self.terminated:,} of them terminated by the task |",
            f"| environment frames | {self.frames:,}, as many decisions; {self.seconds:,.0f} s simulated |",
            f"| who acted | {mix} of the frames |",
            f"| reset seeds | {self.seeds} |",
            f"| return | {self.returns[0]:.4g} to {self.returns[2]:.4g}, median {self.returns[1]:.4g} |",
            f"| guardrails | {rules}{violating} |",
            f"| guardrails, SHA-256 | `{self.guardrails_sha256 or '–'}` |",
            f"| store, SHA-256 | `{self.sha256}` |",
            "",
            "| observed number | least | largest | bins visited |",
            "|---|---|---|---|",
        ]
        lines += [f"| {name} | {a:.4g} | {b:.4g} | {100 * c:.0f} % |" for name, (a, b, c) in self.coverage.items()]
        return "\n".join(lines) + "\n"


def card_of(store: Store) -> Card:
    """The card of a store. Raises TelosError where it is empty, or a shard is damaged."""
    actors: Counter[str] = Counter()
    returns, seeds, ends, broken = [], set(), 0, 0
    rules = store.about.guardrails
    tolerance = np.array([float(rule.get("tolerance", 0.0)) for rule in rules])
    seen = []
    for episode in store.episodes():
        actors[episode.actor or "unknown"] += len(episode)
        returns.append(float(episode.rewards.sum()))
        seeds.add(episode.seed)
        ends += episode.terminated
        if len(rules) and episode.margins.shape[1] == len(rules):
            held = (episode.margins >= -tolerance) & (
                episode.margins < np.inf
            )  # negated, as comparisons with NaN are False
            broken += int((~held).any(1).sum())
        if episode.observations.ndim == 2:
            seen.append(episode.observations)
    if not returns:
        raise TelosError(str(store.path), "a store without episodes", "one episode at least")
    known = sorted(seed for seed in seeds if seed >= 0)
    return Card(
        task=store.about.task,
        episodes=len(store),
        frames=store.frames,
        decisions=store.frames,
        seconds=store.frames * store.about.control_period,
        actors=dict(actors.most_common()),
        seeds=f"{len(known)} different, {known[0]} to {known[-1]}" if known else "unknown",
        terminated=ends,
        returns=(min(returns), float(np.median(returns)), max(returns)),
        coverage=_coverage(np.concatenate(seen), store.about.entries) if seen else {},
        guardrails=tuple(str(rule.get("name", "")) for rule in rules),
        guardrails_sha256=store.about.guardrails_sha256,
        violating=broken / store.frames if len(rules) else float("nan"),
        sha256=store.sha256,
    )


def _coverage(seen: np.ndarray, entries: dict[str, int]) -> dict[str, tuple[float, float, float]]:
    names = [f"{name}[{i}]" for name, size in entries.items() for i in range(size)]
    names = names if len(names) == seen.shape[1] else [f"[{i}]" for i in range(seen.shape[1])]
    found = {}
    for name, column in zip(names, seen.T, strict=True):
        column = column[np.isfinite(column)] if np.isfinite(column).any() else np.zeros(1)
        counts, _ = np.histogram(column, BINS)
        found[name] = (float(column.min()), float(column.max()), float((counts >= VISITED * len(column)).mean()))
    return found
