"""A disk that refuses writes during a run, and files that were damaged after a run."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.memory.memory import Memory
from agent.rollouts.row import TIMES
from agent.runs import rundir
from agent.runs.rundir import RunDir

REAL_FSYNC = os.fsync


def refusing(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Let every sync from the tenth on fail."""
    calls = 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 9:
            raise OSError(code, os.strerror(code))
        REAL_FSYNC(descriptor)

    monkeypatch.setattr(rundir.os, "fsync", fsync)


def check_refusal(
    telos: Callable[..., Any], undisturbed: Any, out: Path, monkeypatch: pytest.MonkeyPatch, code: int, *how: object
) -> None:
    """Assert that a run ended by the disk prints one line, keeps its finished episodes, and can be resumed."""
    refusing(monkeypatch, code)
    done = telos("run", undisturbed.file, "--out", out, *how)
    monkeypatch.setattr(rundir.os, "fsync", REAL_FSYNC)
    assert done.status == 2
    assert os.strerror(code).lower() in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert not list(out.parent.rglob(".*.part*"))
    assert 0 < (out / "episodes.jsonl").read_bytes().count(b"\n") < len(undisturbed.rundir.rows())
    assert telos("resume", out, *how).status == 0
    assert undisturbed.equals(out)


def test_a_disk_that_refuses(
    telos: Callable[..., Any], undisturbed: Any, tmp_path: Path, fast: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refusal(telos, undisturbed, tmp_path / "run", monkeypatch, errno.EROFS)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_disk_that_refuses_while_workers_play(
    cluster: Any,
    telos: Callable[..., Any],
    undisturbed: Any,
    tmp_path: Path,
    fast: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second run needs the CPUs of the first one's workers."""
    on_ray = ("--ray", cluster.address, "--workers", 2)
    check_refusal(telos, undisturbed, tmp_path / "run", monkeypatch, errno.ENOSPC, *on_ray)


def damage(file: Path, rng: random.Random) -> str:
    """Damage a file at random; returns the kind of damage."""
    data = bytearray(file.read_bytes())
    kind = rng.choice(["deleted", "cut short", "a bit has changed", "overwritten", "a hole", "twice as long"])
    if kind == "deleted":
        file.unlink()
        return kind
    if kind == "cut short":
        data = data[: rng.randrange(len(data))]
    elif kind == "a bit has changed":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "overwritten":
        data = bytearray(rng.randbytes(rng.randrange(1, 200)))
    elif kind == "a hole":
        at = rng.randrange(len(data))
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    else:
        data *= 2
    file.write_bytes(data)
    return kind


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_resume_makes_whole_what_was_damaged(
    telos: Callable[..., Any], undisturbed: Any, tmp_path: Path, fast: None, seed: int
) -> None:
    """`resume` makes rows, steps, memory and summary again (tests/cli checks the report, which is not written here)."""
    rng = random.Random(seed)
    out = shutil.copytree(undisturbed.rundir.path, tmp_path / "run")
    names = ["episodes.jsonl", "memory.safetensors", "summary.json"]
    files = [out / name for name in names] + sorted((out / "steps").iterdir())
    weights = [6, 3, 2] + [1] * (len(files) - 3)
    done_to = {file.name: damage(file, rng) for file in set(rng.choices(files, weights, k=3))}
    done = telos("resume", out)
    assert done.status == 0, (done_to, done.err)
    assert undisturbed.equals(out), done_to
    made, wanted = (RunDir.open(path).summary() for path in (out, undisturbed.rundir.path))
    assert made.keys() == wanted.keys()
    assert all(made[name] == wanted[name] for name in wanted if name not in TIMES), done_to
    ours, theirs = (Memory.load(path / "memory.safetensors").episodes for path in (out, undisturbed.rundir.path))
    for one, other in zip(ours, theirs, strict=True):
        assert all(np.array_equal(value, getattr(other, name)) for name, value in vars(one).items()), done_to
