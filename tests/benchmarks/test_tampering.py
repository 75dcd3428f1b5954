"""One change of each kind of `telos bench tampering`, which makes thousands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.runs import integrity
from benchmarks.tampering import tampering
from benchmarks.tampering.mutations import KINDS
from benchmarks.tampering.tampering import BAD, COMMANDS, GOOD, Bench

CHANGES = [kind * (len(KINDS) + 1) for kind in range(len(KINDS))]  # each kind once, the runs in turns


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    bench = Bench(tmp_path_factory.mktemp("tampering"))
    return [bench.measure(number) for number in CHANGES]


def test_every_change_is_noticed_or_changes_nothing(measured: list[dict[str, Any]]) -> None:
    assert [row for row in measured if not {row[command] for command in COMMANDS} <= set(GOOD)] == []
    assert {row["kind"] for row in measured} == set(KINDS)


def test_what_was_changed_is_refused_and_run_again(measured: list[dict[str, Any]]) -> None:
    by_kind: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for row in measured:
        by_kind[row["kind"]].update((row["report"], row["resume"]))
    assert by_kind["the same content, written otherwise"] == {"same"}
    assert by_kind["summary or memory"] == {"same"}
    assert by_kind["a value of config.yaml"] == by_kind["a value of manifest.json"] == {"refused"}
    assert by_kind["an array of a steps file"] == {"refused", "run again"}


def test_a_change_that_is_not_noticed_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark itself reports failures: readers that check nothing accept changed planning times."""

    def slower(rng: Any, run: Path, others: Any) -> str:
        for file in run.glob("steps/*.npz"):
            with np.load(file) as stored:
                np.savez(file, **{**stored, "plan_ms": stored["plan_ms"] + 1_000.0})
        return "slower plans"

    bench = Bench(tmp_path)
    monkeypatch.setattr(tampering, "KINDS", {"times": slower})
    assert bench.measure(0)["report"] == "refused"
    monkeypatch.setattr(integrity, "checked", lambda rundir, row, rules: rundir.steps(row.episode))
    assert bench.measure(0)["report"] == "ACCEPTED"


def test_the_table_counts_what_every_command_did() -> None:
    row = {"kind": "a byte", "report": "refused", "compare": "refused", "explain": "same", "resume": "ACCEPTED"}
    lines = tampering.table([row, row]).splitlines()
    assert lines[0].endswith(" | ".join([*GOOD, *BAD]) + " |")
    assert lines[2] == "| a byte | 2 | 4 | 2 | 0 | 0 | 2 | 0 | 0 |"
    assert lines[-1] == "| all | 2 | 4 | 2 | 0 | 0 | 2 | 0 | 0 |"
