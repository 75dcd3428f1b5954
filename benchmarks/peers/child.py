"""One side of a comparison, in a process of its own: a line of JSON asks, a line of JSON answers.

    PYTHON child.py MODULE SETTINGS.json

`MODULE.side(settings)` makes what is timed. This runs inside a peer's virtual environment too, where telos is not
installed: the standard library is all it needs.
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
    """What can be asked of either side."""

    about: dict[str, Any]  # versions, and how many threads it uses

    def decide(self) -> None:
        """One whole decision."""
        ...

    def roll_out(self) -> None:
        """Simulate the given candidates, and nothing else."""
        ...

    def totals(self) -> list[float]:
        """What each of the given candidates costs."""
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
    """{"ask": "block", "calls": n} or {"ask": "totals"}."""
    if question["ask"] == "totals":
        return side.totals()
    calls = question["calls"]
    return {"decide": timed(side.decide, calls), "roll_out": timed(side.roll_out, calls)}


def main() -> int:
    module, file = sys.argv[1:]
    settings = json.loads(Path(file).read_text(encoding="utf-8"))
    os.sched_setaffinity(0, settings["cpus"])  # before anything counts them
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    side: Side = import_module(module).side(settings)
    print(json.dumps(side.about), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(side, json.loads(line))), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
