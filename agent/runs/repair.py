"""Remove damaged rows from a run directory, so that their episodes run again."""

from __future__ import annotations

import os
from itertools import count

from agent.rollouts.row import Row
from agent.runs import integrity
from agent.runs.rundir import RunDir
from envs.errors import TelosError
from envs.files import write
from envs.guardrails.ruleset import Guardrails


def repair(rundir: RunDir, rules: Guardrails) -> tuple[str, ...]:
    """Remove damaged rows from episodes.jsonl, and return a notice for the user about each kind of damage.

    Damaged are an incomplete last line, lines that are not rows of this run, a second row of one episode, and rows
    that do not fit their steps. A copy of the original file is kept, unless only an incomplete line was removed.

    Args:
        rules: the run's guardrails.

    Raises:
        TelosError: all intact rows name another manifest, so manifest.json itself may be the wrong file.
    """
    lines, torn = rundir.lines()
    _insist_one_fits(rundir, lines)
    kept: dict[int, bytes] = {}
    lost: list[str] = []
    for number, line in enumerate(lines, 1):
        try:
            row = rundir.row(line, f"line {number}")
            if row.episode in kept:
                lost.append(f"line {number} (episode {row.episode} a second time)")
                continue
            integrity.checked(rundir, row, rules)
        except TelosError as error:
            lost.append(f"line {number} ({error.where}: {error.given})")
        else:
            kept[row.episode] = line
    notices = []
    if torn:
        notices.append(f"dropped a torn last line ({len(torn)} bytes) of episodes.jsonl; its episode runs again")
    if lost:
        free = (rundir.path / f"damaged-{number}.jsonl" for number in count())
        copy = next(path for path in free if not os.path.lexists(path))
        write(copy, b"".join(line + b"\n" for line in lines) + torn)
        notices.append(
            f"set aside {len(lost)} damaged row(s) of episodes.jsonl, whose episodes run again: "
            f"{'; '.join(lost[:3])}{' …' if len(lost) > 3 else ''}; the file as it was: {copy.name}"
        )
    if torn or lost:
        write(rundir.rows_file, b"".join(line + b"\n" for line in kept.values()))
    return tuple(notices)


def _insist_one_fits(rundir: RunDir, lines: list[bytes]) -> None:
    """Raise TelosError if there are intact rows and all of them name another manifest than this directory's."""
    runs = set()
    for line in lines:
        try:
            runs.add(Row.parse(line, "").run_sha256)
        except TelosError:
            continue
    if runs and rundir.manifest.sha256 not in runs:
        given = "another manifest than the one that the rows of episodes.jsonl were written under"
        raise TelosError(str(rundir.path / "manifest.json"), given, "both files of one run")
