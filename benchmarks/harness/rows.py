"""Rows of a benchmark: appended as they come, skipped when they are there already, read back for tables."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from agent.config.config import listed_seeds
from envs.errors import TelosError

RESULTS = Path(__file__).parents[1] / "results"  # what the documents show; measured again with --out
HERE = Path("runs") / "bench"  # of whoever measures
ANCHORS = Path(__file__).parents[1] / "anchors"
OLDER_NAMES = MappingProxyType({"physics_steps_per_decision": "model_steps_per_decision"})  # in rows of schema 4


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """What every benchmark takes."""
    made = argparse.ArgumentParser(
        prog=f"telos bench {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--out", type=Path, default=HERE / f"{name}.jsonl", help="where the rows are, and go")
    made.add_argument("--table", action="store_true", help="print the table of what there is, and measure nothing")
    return made


def count(text: str) -> int:
    """An option that counts something. Raises ArgumentTypeError, which argparse turns into a message with its name."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} given, allowed: a whole number >= 1")
    return int(text)


def seeds(text: str) -> tuple[int, ...]:
    """Seeds as an option gives them: so many from 0 on, or 100..104, or 3,7. Raises ArgumentTypeError."""
    if text.isdecimal():
        return tuple(range(count(text)))
    try:
        return listed_seeds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} given, allowed: a number of seeds, or {error}") from None


class Row(dict[str, Any]):
    """A row that tells its place where a key is asked for that it does not have: it is another benchmark's."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        super().__init__(values)
        self.where = where

    def __missing__(self, key: str) -> NoReturn:
        raise TelosError(self.where, f"a row without {key!r}", "rows of this benchmark; another --out")


def read(path: Path) -> list[dict[str, Any]]:
    """All whole rows of a JSON-lines file; a last line that a kill cut off is not one.

    Raises:
        TelosError: something else stands in it, or it is a directory.
    """
    if path.is_dir():
        raise TelosError(f"--out {path}", "a directory", "a file for rows, new or with some")
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [_row(line, f"{path}:{number}") for number, line in enumerate(lines[:-1], 1) if line]


def _row(line: str, where: str) -> Row:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TelosError(where, f"what is no row ({error})", "rows of JSON; another --out") from None
    if not isinstance(values, dict):
        raise TelosError(where, f"a {type(values).__name__}", "a row, which is an object of JSON; another --out")
    return Row({OLDER_NAMES.get(name, name): value for name, value in values.items()}, where)


def append(path: Path, row: dict[str, Any]) -> None:
    """Add one row and sync it; a torn last line is cut away first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)
        file.write((json.dumps(row, allow_nan=False) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def done(rows: Iterable[dict[str, Any]], keys: Sequence[str]) -> set[tuple[Any, ...]]:
    """What has been measured already, by these keys."""
    return {tuple(row.get(key) for key in keys) for row in rows}
