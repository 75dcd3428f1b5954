"""Kills trainings at random moments, resumes them, and compares them with trainings that nobody killed.

    telos bench worldmodels --only kills      at least 20 kills with SIGKILL, in rounds of 4, then the table

A round is one small training, with the command `telos train` or `telos resume` in a process of its own. Every kind of
learner has its turn: a cost-to-go of goals, critic and policy, and an ensemble that collects by curiosity. Weights,
optimisers, experience and evaluations must be equal to the bit; only times may differ.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml
from safetensors.torch import load

from agent.learning.traindir import TrainDir
from benchmarks.harness import rows
from worldmodels.checkpoint import Checkpoint

OUT = rows.RESULTS / "worldmodels" / "kills.jsonl"
KILLS = 20
EACH = 4  # kills of a round
TIMED = frozenset(("seconds", "plan_ms", "decision_ms"))
_GOALS: Mapping[str, Any] = MappingProxyType(
    {
        "frames": 6000,
        "evaluate.every": 2000,
        "evaluate.goals.starts": 3,
        "run.planner.budget": {"evaluations": 64},
        "reach": {"updates_per_frame": 0.05},
    }
)
RECIPES: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "goals": ("quickstart", _GOALS),
        "rewards": (
            "rewards",
            {
                "frames": 6000,
                "episode": 500,
                "actor_critic.updates_per_frame": 0.1,
                "evaluate": {"every": 3000, "returns": {"episodes": 1, "by": ["policy"]}},
            },
        ),
        "curiosity": (
            "quickstart",
            {**_GOALS, "frames": 3000, "evaluate.every": 1500, "model.members": 3, "collect": {"kind": "curiosity"}},
        ),
    }
)
"""Name -> a shipped recipe, and what differs from it."""


def outcome(path: Path) -> dict[str, str]:
    """Digests of all that must not depend on kills."""
    folder = TrainDir.open(path)
    state = load((path / "state.safetensors").read_bytes())
    return {
        "state": _digest([[name, state[name].numpy().tobytes().hex()] for name in sorted(state)]),
        "curve": _digest(_untimed(folder.lines("curve"))),
        "log": _digest(_untimed(folder.lines("log"))),
        "model": Checkpoint.read(path).sha256,
        "store": folder.store.sha256,
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _untimed(part) for name, part in value.items() if name not in TIMED}
    return [_untimed(part) for part in value] if isinstance(value, list) else value


def measure(out: Path, kills: int) -> None:
    """Rounds until there were this many kills in all; each appends a row."""
    whole: dict[str, tuple[dict[str, str], float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        while (done := sum(len(row["kills"]) for row in rows.read(out))) < kills:
            number = len(rows.read(out))
            name = list(RECIPES)[number % len(RECIPES)]
            if name not in whole:
                path, begun = Path(folder) / f"{name}-whole", time.monotonic()
                _finish(name, path)
                whole[name] = outcome(path), time.monotonic() - begun
            row = _round(name, Path(folder) / f"{name}-{number}", *whole[name], np.random.default_rng([0x51, number]))
            rows.append(out, row)
            print(f"{name}: {done + len(row['kills'])} kills, {row['differs'] or 'nothing'} differs", flush=True)


def _round(
    name: str, path: Path, wanted: Mapping[str, str], seconds: float, draws: np.random.Generator
) -> dict[str, Any]:
    """A training that is killed up to `EACH` times, each time at a random moment of what an unkilled one takes."""
    kills: list[dict[str, Any]] = []
    while len(kills) < EACH:
        process, wait = _started(name, path), float(draws.uniform(0.5, seconds))
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            frames = [json.loads(line)["frames"] for line in _lines(path)]
            kills.append({"after_s": round(wait, 2), "frames": frames[-1] if frames else 0})
            continue
        break  # it has ended before the kill
    _finish(name, path)
    found = outcome(path)
    shutil.rmtree(path)
    return {"recipe": name, "kills": kills, "differs": [part for part in wanted if found[part] != wanted[part]]}


def _lines(path: Path) -> list[str]:
    file = path / "log.jsonl"
    return [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")] if file.exists() else []


def _started(name: str, path: Path) -> subprocess.Popen[bytes]:
    """`telos train`, or `telos resume` where the training has a directory."""
    recipe, more = RECIPES[name]
    flags = [
        word for key, value in more.items() for word in (f"--{key}", yaml.safe_dump(value, default_flow_style=True))
    ]
    given = ["resume", str(path)] if path.exists() else ["train", recipe, *flags, "--out", str(path)]
    command = [sys.executable, "-m", "agent.command.cli", *(word.split("\n...")[0].strip() for word in given)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _finish(name: str, path: Path) -> None:
    """Run to the end. Raises RuntimeError with what the command said where it fails."""
    process = _started(name, path)
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(said.decode(errors="replace"))


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table, one line for each kind of training."""
    lines = ["| training | rounds | kills | rounds in which something differs |", "|---|---|---|---|"]
    for name in RECIPES:
        mine = [row for row in found if row["recipe"] == name]
        if mine:
            kills, differ = sum(len(row["kills"]) for row in mine), sum(bool(row["differs"]) for row in mine)
            lines.append(f"| {name} | {len(mine)} | {kills} | {differ} |")
    return "\n".join(lines)
