"""The benchmark of killed trainings: it sees what differs, and counts kills."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from agent.learning.traindir import TrainDir
from benchmarks.harness import rows
from benchmarks.worldmodels import kills
from worldmodels.checkpoint import metadata


@pytest.mark.parametrize("part", ["state", "curve", "log"])
def test_a_difference_is_seen(whole: Path, tmp_path: Path, part: str) -> None:
    copy = shutil.copytree(whole, tmp_path / "run")
    assert kills.outcome(copy) == kills.outcome(whole)
    if part == "state":
        file = copy / "state.safetensors"
        tensors, about = load_file(file), metadata(file.read_bytes())
        next(iter(tensors.values())).view(-1)[0] += 1e-6
        save_file(tensors, file, about)
    else:
        TrainDir.open(copy).append(part, {"frames": 1})
    found = kills.outcome(copy)
    assert {name for name, value in kills.outcome(whole).items() if found[name] != value} == {part}


def test_times_may_differ(whole: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(whole, tmp_path / "run")
    folder = TrainDir.open(copy)
    lines = folder.lines("curve")
    (copy / "curve.jsonl").write_bytes(b"")
    for line in lines:
        folder.append("curve", {**line, "seconds": {"env": 99.0}})
    assert kills.outcome(copy) == kills.outcome(whole)


@pytest.mark.slow
def test_a_killed_training_is_compared(tmp_path: Path) -> None:
    kills.measure(tmp_path / "rows.jsonl", 1)
    (row,) = rows.read(tmp_path / "rows.jsonl")
    assert row["kills"]
    assert row["differs"] == []
