"""A benchmark's rows in a JSON-lines file: appended one by one, read back to skip what is measured and for tables."""

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

RESULTS = Path(__file__).parents[1] / "results"  # the rows behind docs/measured/; written only with --out
HERE = Path("runs") / "bench"  # default folder for new rows
ANCHORS = Path(__file__).parents[1] / "anchors"
OLDER_NAMES = MappingProxyType({"physics_steps_per_decision": "model_steps_per_decision"})  # in rows of schema 4


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    made = argparse.ArgumentParser(
        prog=f"telos bench {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--out", type=Path, default=HERE / f"{name}.jsonl", help="where the rows are, and go")
    made.add_argument("--table", action="store_true", help="print the table of what there is, and measure nothing")
    return made


def count(text: str) -> int:
    """Parse a whole number >= 1. Raises ArgumentTypeError, which argparse reports with the option's name."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} given, allowed: a whole number >= 1")
    return int(text)


def seeds(text: str) -> tuple[int, ...]:
    """Parse seeds: `5` for 0 to 4, a range `100..104`, or a list `3,7`. Raises ArgumentTypeError."""
    if text.isdecimal():
        return tuple(range(count(text)))
    try:
        return listed_seeds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} given, allowed: a number of seeds, or {error}") from None


class Row(dict[str, Any]):
    """A row that raises TelosError with its file and line for a missing key: it belongs to another benchmark."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        super().__init__(values)
        self.where = where

    def __missing__(self, key: str) -> NoReturn:
        raise TelosError(self.where, f"a row without {key!r}", "rows of this benchmark; another --out")


def read(path: Path) -> list[dict[str, Any]]:
    """All complete rows of a JSON-lines file; a torn last line (after a kill) is skipped.

    Raises:
        TelosError: a line is not a JSON object, or the path is a directory.
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
    """Append one row and sync it to disk; a torn last line is removed first."""
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
    """The values of these keys in all rows: what has been measured already."""
    return {tuple(row.get(key) for key in keys) for row in rows}
