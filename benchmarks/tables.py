"""Writes the measured tables into README.md, from the rows in `benchmarks/results/`.

python -m benchmarks.tables            rewrite the block between the markers
python -m benchmarks.tables --check    exit 1 where it is out of date
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import quickstart_twins, returns, rows, throughput

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def block() -> str:
    """The measured section as Markdown."""
    parts = [
        "Default presets on real dm_control episodes of 1,000 frames (`make bench-returns`); the return is the "
        "environment's own, the interval a 95 % bootstrap over seeds, CEM (PlaNet) that paper's true-simulator row:",
        returns.table(rows.read(returns.OUT)),
        "The quickstart and its unguarded twin, which exists in `benchmarks/` alone, from the same starts "
        "(`make bench-guardrails`):",
        quickstart_twins.table(rows.read(quickstart_twins.OUT)),
        "How much of MuJoCo's own throughput is left, as ratios in one run (`make bench-throughput`):",
        throughput.table(rows.read(throughput.OUT)),
        throughput.shortfall(rows.read(throughput.OUT)),
    ]
    return "\n\n".join(parts)


def written(text: str) -> str:
    """The README with its block made anew."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{block()}\n\n{END}{tail}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    old = README.read_text(encoding="utf-8")
    new = written(old)
    if options.check:
        return int(new != old)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
