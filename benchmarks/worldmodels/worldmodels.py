"""Learned world models, and the agents that plan with them.

    telos bench worldmodels               measure what is missing, then print the tables
    telos bench worldmodels --table
    telos bench worldmodels --only goals --arms jepa random --seeds 0..2

`goals`: see benchmarks/worldmodels/goals.py. A benchmark that is called again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.harness import rows
from benchmarks.worldmodels import goals

PARTS = ("goals",)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="telos bench worldmodels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PARTS, nargs="*", default=list(PARTS))
    parser.add_argument(
        "--out", type=rows.Path, default=rows.HERE / "worldmodels.jsonl", help="where the rows are, and go"
    )
    parser.add_argument("--table", action="store_true", help="print the table of what there is, and measure nothing")
    parser.add_argument("--arms", nargs="*", choices=goals.ARMS, default=list(goals.ARMS))
    parser.add_argument("--seeds", type=rows.seeds, default=(0, 1, 2), help="of trainings")
    parser.add_argument("--starts", type=rows.count, default=200, help="of each distance")
    options = parser.parse_args(argv)
    if not options.table:
        goals.measure(options.out, options.arms, options.seeds, {"evaluate.goals.starts": options.starts})
    print(goals.table(rows.read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
