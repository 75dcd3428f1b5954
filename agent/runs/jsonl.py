"""A log as JSON lines: log.jsonl, with a line for every control step and every episode.

    {"episode": 0, "seed": 3, "step": 0, "reward": 0.5, …, "margin.NAME": 0.2}
    {"episode": 0, "seed": 3, "return": 412.3, …, "min_margin.NAME": 0.1}

Numbers that are not finite are written as in rows (`agent.rollouts.row`).
"""

from __future__ import annotations

from pathlib import Path

from agent.rollouts.row import to_json
from agent.runs.logger import KINDS, Scalars


class JsonLines:
    """See `agent.runs.logger.Logger`."""

    def __init__(self, run: Path) -> None:
        self._path = run / KINDS["jsonl"].place
        self._scratch: Path | None = self._path.with_name(f".{self._path.name}.part")
        self._file = self._scratch.open("w", encoding="utf-8")

    def write(self, scalars: Scalars) -> None:
        step = {} if scalars.step is None else {"step": scalars.step}
        self._file.write(to_json({"episode": scalars.episode, "seed": scalars.seed, **step, **scalars.values}) + "\n")

    def flush(self) -> None:
        self._file.flush()
        if self._scratch is not None:
            self._scratch.replace(self._path)
            self._scratch = None

    def close(self) -> None:
        self._file.close()
