"""Whether two versions of the code give the same runs: one short run of many configurations each.

python -m benchmarks.unchanged run CODE OUT       run every configuration with the source tree in CODE
python -m benchmarks.unchanged compare OUT OUT    print what differs between two such outputs
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RAIL = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -1.0, "upper": 1.0, "unit": "m"}
BASE = {"episodes": 2, "frames": 20, "threads": 1, "video": False}
CARTPOLE = {**BASE, "task": "dm_control/cartpole-swingup-v0", "guardrails": [{**RAIL, "scale": 0.1}]}
PENDULUM = {**BASE, "task": "dm_control/pendulum-swingup-v0", "episodes": 1, "frames": 4}
SAMPLING = ("random_shooting", "predictive_sampling", "cem", "mppi", "elite_mppi", "dial_mpc", "icem")
CLOCKED = ("ms", "seconds", "fraction")  # parts of the names of fields that the clock decides
BOUND = {"sha256", "steps_sha256", "run_sha256", "row"}  # digests of rows and steps, which hold times
RULES = [{"quantity": "plan_cost", "rises_by": 0.1, "budget_factor": 2.0, "weights": {"effort": 0.2}}]


def planner(kind: str, **more: Any) -> dict[str, Any]:
    """A planner with a small budget."""
    return {"kind": kind, "horizon": 10, "budget": {"evaluations": 24}, "params": {}, **more}


def configurations() -> dict[str, dict[str, Any]]:
    """Name -> configuration; CODE stands for the source tree. `gradient` needs a learned model and has none."""
    icem = {**CARTPOLE, "planner": planner("icem")}
    once = {**CARTPOLE, "episodes": 1}
    robust = {"robust": {"risk": "worst", "variants": [{"mass": 1.3}, {"mass": 0.8}]}}
    cells = {"horizon": 100, "budget": {"evaluations": 200}, "params": {"cells": 41, "hold": 5}}
    found: dict[str, dict[str, Any]] = {kind: {**CARTPOLE, "planner": planner(kind)} for kind in SAMPLING}
    found |= {kind: {**once, "planner": planner(kind)} for kind in ("ilqr", "mcts", "sst")}
    found |= {
        kind: {**PENDULUM, "planner": planner(kind, **cells)} for kind in ("dijkstra", "a_star", "value_iteration")
    }
    found["robust"] = {**icem, "world_model": robust}
    found["robust-mcts"] = {**once, "planner": planner("mcts"), "world_model": robust}
    found["estimated"] = {**icem, "perception": {"kind": "estimated"}, "variant": {"observation_noise": 0.01}}
    found["configurator"] = {**icem, "configurator": {"rules": RULES}, "cost": {"effort": 0.1}}
    found["variant"] = {**icem, "variant": {"mass": 1.2, "latency": 2}}
    found["own-model"] = {**BASE, "task": "CODE/docs/arm/arm.yaml", "episodes": 1}
    found["quickstart"] = {"extends": "quickstart", "frames": 30, "episodes": 1, "video": False}
    found["maze"] = {"extends": "maze", "frames": 4, "episodes": 1, "video": False}
    found["gymnasium"] = {**BASE, "task": "Hopper-v5", "planner": planner("icem")}
    found["quadruped"] = {**BASE, "task": "dm_control/quadruped-walk-v0", "frames": 6, "planner": planner("mppi")}
    found["ray"] = icem
    return found


def run(code: Path, out: Path) -> None:
    """Run every configuration that has no finished run in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    module = "agent.command.cli" if (code / "agent" / "command").is_dir() else "agent.cli"
    for name, config in configurations().items():
        if (out / name / "summary.json").exists():
            continue
        file = out / f"{name}.yaml"
        file.write_text(json.dumps(config).replace("CODE", str(code)))
        command = [sys.executable, "-m", module, "run", str(file), "--out", str(out / name)]
        command += ["--workers", "2"] if name == "ray" else []
        environment = {**os.environ, "PYTHONPATH": str(code)}
        done = subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, check=False)
        print(name, "ok" if done.returncode == 0 else done.stderr[-500:], flush=True)


def differences(one: Path, other: Path) -> dict[str, float]:
    """The fields of two run directories that differ, with their largest difference (NaN where there is no number)."""
    found: dict[str, float] = {}
    for ours, theirs in zip(_rows(one), _rows(other), strict=True):
        names = [name for name in ours.keys() | theirs.keys() if _compared(name)]
        found |= {name: np.nan for name in names if ours.get(name) != theirs.get(name)}
    for file in sorted((one / "steps").iterdir()):
        with np.load(file) as ours, np.load(other / "steps" / file.name) as theirs:
            for name in filter(_compared, {*ours.files, *theirs.files}):
                worst = _apart(ours.get(name), theirs.get(name))
                if worst != 0:
                    found[f"steps.{name}"] = worst
    return found


def _apart(ours: np.ndarray | None, theirs: np.ndarray | None) -> float:
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return np.nan
    if np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):
        return 0.0
    return float(np.nanmax(np.abs(ours - theirs))) if ours.dtype.kind == "f" else np.nan


def _compared(name: str) -> bool:
    return name not in BOUND and not any(part in name for part in CLOCKED)


def _rows(folder: Path) -> list[Mapping[str, Any]]:
    lines = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    return sorted((line.get("row", line) for line in lines), key=lambda row: row["episode"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, names in (("run", ("code", "out")), ("compare", ("one", "other"))):
        words = verbs.add_parser(verb)
        for name in names:
            words.add_argument(name, type=Path)
    given = parser.parse_args(argv)
    if given.verb == "run":
        run(given.code.resolve(), given.out.resolve())
        return 0
    status = 0
    for name in configurations():
        found = differences(given.one / name, given.other / name)
        status |= bool(found)
        print(f"{name:20s}", found or "bit for bit")
    return status


if __name__ == "__main__":
    sys.exit(main())
