"""Writes docs/measured/ and the README's figures, from the rows in `benchmarks/results/`.

python -m benchmarks.tables            rewrite what is out of date
python -m benchmarks.tables --check    exit 1 where something is out of date
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import figures
from benchmarks.measured import PAGES

ROOT = Path(__file__).parent.parent
README, MEASURED = ROOT / "README.md", ROOT / "docs" / "measured"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NOTE = "<!-- Written by `python -m benchmarks.tables`; do not edit. -->"
FILES = (README, MEASURED / "README.md", *(MEASURED / f"{name}.md" for name in PAGES))


def written(file: Path) -> str:
    """The up-to-date text of a file of `FILES`."""
    if file == README:
        head, rest = file.read_text(encoding="utf-8").split(BEGIN)
        _, tail = rest.split(END)
        return f"{head}{BEGIN}\n\n{figures.table()}\n\n{END}{tail}"
    if file == MEASURED / "README.md":
        links = "\n".join(f"- [{page.title}]({name}.md)" for name, page in PAGES.items())
        return "\n\n".join([NOTE, "# Measured", "Every page names the command that measures it again.", links]) + "\n"
    page = PAGES[file.stem]
    return "\n\n".join([NOTE, f"# {page.title}", *page.parts()]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = [file for file in FILES if not file.exists() or written(file) != file.read_text(encoding="utf-8")]
    if options.check:
        return int(bool(stale))
    MEASURED.mkdir(exist_ok=True)
    for file in stale:
        file.write_text(written(file), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
