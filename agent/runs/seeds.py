"""Runs with several seeds: the names of the seeds, and the results for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.runs import statistics
from agent.runs.statistics import Estimate

if TYPE_CHECKING:
    from rich.console import Console

    from agent.config.config import Config
    from agent.rollouts.row import Row

NAMED = 5  # maximum number of seeds listed one by one


@dataclass(frozen=True)
class Result:
    """The result of one seed's episodes, or of all episodes."""

    seed: int | None  # None: all seeds
    return_: Estimate
    violation_steps: int
    interventions: int


def name(config: Config) -> str:
    """The seeds as part of a run directory's name: seed3, seeds0..4, or seeds0-3-7."""
    return f"seeds{_listed(config.seeds, '-')}" if config.seeds else f"seed{config.seed}"


def title(config: Config, episode: int | None = None) -> str:
    """The seeds of a run in words; with `episode`, that episode's name instead, such as "seed 3, episode 0"."""
    if episode is None:
        return f"seeds {_listed(config.seeds, ', ')}" if config.seeds else f"seed {config.seed}"
    seed, index = config.place(episode)
    return f"seed {seed}, episode {index}" if config.seeds else f"episode {index}"


def by_seed(rows: Sequence[Row]) -> tuple[Result, ...]:
    """One result for each seed, in ascending order, and then one for all."""
    groups = {seed: [row for row in rows if row.seed == seed] for seed in sorted({row.seed for row in rows})}
    return tuple(_result(seed, group) for seed, group in [*groups.items(), (None, rows)])


def show(results: Sequence[Result], console: Console) -> None:
    """Print the table."""
    from rich.table import Table

    table = Table()
    for column in ("seed", "episodes", "mean return", "95 %", "violating steps", "interventions"):
        table.add_column(column, justify="right", no_wrap=True)
    for result in results:
        mean = result.return_
        interval = "–" if mean.low is None or mean.high is None else f"{mean.low:.4g} … {mean.high:.4g}"
        label = "all" if result.seed is None else str(result.seed)
        counts = (str(result.violation_steps), str(result.interventions))
        style = "bold" if result.seed is None else None
        table.add_row(label, str(mean.n), f"{mean.mean:.4g}", interval, *counts, style=style)
    console.print(table, highlight=False, markup=False)


def _result(seed: int | None, rows: Sequence[Row]) -> Result:
    return Result(
        seed,
        statistics.mean([row.return_ for row in rows]),
        sum(row.violation_steps for row in rows),
        sum(row.interventions for row in rows),
    )


def _listed(seeds: Sequence[int], between: str) -> str:
    """The seeds as 0..4 if they are consecutive; otherwise one by one, shortened after `NAMED`."""
    if len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}..{seeds[-1]}"
    more = f"{between}…" if len(seeds) > NAMED else ""
    return between.join(map(str, seeds[:NAMED])) + more
