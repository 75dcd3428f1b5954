"""One side of a comparison in its own process: it reads questions and writes answers, each a line of JSON.

    PYTHON child.py MODULE SETTINGS.json

`MODULE.side(settings)` makes the side to be timed. This file imports only the standard library, because it also runs
inside a peer's virtual environment, where telos is not installed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol


class Side(Protocol):
    """The interface of either side of a comparison."""

    about: dict[str, Any]  # versions and number of threads

    def decide(self) -> None:
        """One whole decision."""
        ...

    def roll_out(self) -> None:
        """Only simulate the given candidates."""
        ...

    def totals(self) -> list[float]:
        """The cost of each of the given candidates."""
        ...


def timed(call: Callable[[], None], times: int) -> list[float]:
    """Seconds of each call."""
    found = []
    for _ in range(times):
        clock = time.perf_counter()
        call()
        found.append(time.perf_counter() - clock)
    return found


def answer(side: Side, question: dict[str, Any]) -> Any:
    """Answer {"ask": "block", "calls": n} with seconds of each call, or {"ask": "totals"} with costs."""
    if question["ask"] == "totals":
        return side.totals()
    calls = question["calls"]
    return {"decide": timed(side.decide, calls), "roll_out": timed(side.roll_out, calls)}


def main() -> int:
    module, file = sys.argv[1:]
    settings = json.loads(Path(file).read_text(encoding="utf-8"))
    os.sched_setaffinity(0, settings["cpus"])  # before libraries count the CPUs
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries that print go to stderr, not into the answers
    side: Side = import_module(module).side(settings)
    print(json.dumps(side.about), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(side, json.loads(line))), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
