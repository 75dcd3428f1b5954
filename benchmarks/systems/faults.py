"""Kills processes of a run at random moments, resumes it, and checks that no episode is lost or changed.

    telos bench faults                     200 kills, then the table
    telos bench faults --table

A round is one run of short episodes on two Ray workers. During the run, the benchmark waits a random time, kills a
random process (driver, Ray's own processes, workers) with SIGKILL, and repeats. If the driver has ended early,
`telos resume` continues the run. When the run is finished, its rows and steps are compared with those of the same run
without Ray and without kills, and every row that was on disk before a kill must still be there. Rounds repeat until
there were enough kills; each appends a row to `runs/bench/faults.jsonl`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.command import run
from agent.config.config import Config
from agent.config.load import load
from agent.rollouts.row import TIMES, Row
from agent.runs.rundir import RunDir
from benchmarks.harness import rows
from envs.errors import TelosError

OUT = rows.RESULTS / "faults.jsonl"
TOKEN = "TELOS_FAULTS"  # environment variable of every process that a driver has started
WAIT = 12.0  # s, the longest wait between two kills
PATIENCE = 240.0  # s without a new row or an exit after which a driver counts as hung
FAREWELL = 150.0  # s after a run within which all its processes must have ended
KINDS = {  # part of the command line -> kind of process
    "gcs_server": "head (GCS)",
    "raylet/raylet": "node (raylet)",
    "ray::TelosWorker": "worker",
    "ray::IDLE": "idle worker",
    "agent.command.cli": "driver or its supervisor",
}
ATTEMPTS = 40  # drivers in a row that may end without a new row and without a kill


def config_of(seed: int, episodes: int) -> Config:
    """Episodes of a fraction of a second, with a guardrail that affects some of them."""
    rail = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -1.0, "upper": 1.0, "unit": "m"}
    return load(
        task="dm_control/cartpole-swingup-v0",
        overrides={
            "seed": seed,
            "episodes": episodes,
            "frames": 40,
            "threads": 1,
            "video": False,
            "planner.horizon": 12,
            "planner.budget.evaluations": 32,
            "planner.params": {"iterations": 2, "knots": 5, "elites": 4},
            "guardrails": [{**rail, "scale": 0.1}],
        },
    )


@dataclass(frozen=True)
class Kill:
    """One SIGKILL."""

    process: str  # kind of the killed process
    at: float  # s since the start of this driver
    driver: str  # "went on", or the driver's exit status


class Driver:
    """A `telos` command in its own process, with all processes that it starts."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self.token = f"{folder}:{time.monotonic_ns()}"
        self.log = folder / "log.txt"
        environment = {**os.environ, TOKEN: self.token, "OMP_NUM_THREADS": "1", "RAY_TMPDIR": str(folder)}
        self.began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent.command.cli", *words], env=environment, stdout=log, stderr=log
            )

    def processes(self) -> dict[int, str]:
        """All of the driver's live processes: pid -> kind."""
        return living(self.token)

    @property
    def seconds(self) -> float:
        """Seconds since the driver started."""
        return time.monotonic() - self.began


def living(token: str) -> dict[int, str]:
    """Live processes whose environment has the token: pid -> kind."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"{TOKEN}={token}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                kinds = [kind for part, kind in KINDS.items() if part in line]
                found[int(entry.name)] = kinds[0] if kinds else "other of Ray's"
    return found


def compared(found: RunDir, expected: RunDir, seen: Collection[bytes] = ()) -> dict[str, int]:
    """The numbers of lost, duplicated and differing episodes.

    Args:
        seen: lines that `episodes.jsonl` had at some earlier time; a line that is missing or changed counts as lost.
    """
    lines = _lines(found.path)
    there = [Row.parse(line, "row") for line in lines]
    wanted = {row.episode: row for row in expected.rows()}
    once = {row.episode: row for row in there}
    return {
        "lost": len(wanted.keys() - once.keys()) + len(set(seen) - set(lines)),
        "duplicated": len(there) - len(once),
        "differing": sum(_facts(found, once[i]) != _facts(expected, wanted[i]) for i in once),
    }


def _lines(path: Path) -> list[bytes]:
    """The complete lines of episodes.jsonl; empty if the file does not exist."""
    try:
        return (path / "episodes.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def _facts(rundir: RunDir, row: Any) -> tuple[Any, ...]:
    """Everything in an episode that does not depend on the clock."""
    steps = rundir.steps(row.episode)
    arrays = [value.tobytes() for name, value in steps.arrays().items() if name not in ("plan_ms", "decision_ms")]
    return ({name: value for name, value in asdict(row).items() if name not in TIMES}, arrays)


def play(number: int, episodes: int, most: int) -> dict[str, Any]:
    """One round with at most `most` kills, as a row."""
    rng = np.random.default_rng([number])
    folder = Path(tempfile.mkdtemp(prefix="telos-faults-"))
    try:
        config = config_of(number, episodes)
        expected = run.run(config, folder / "expected")
        file, path = folder / "config.yaml", folder / "killed"
        shutil.copy(expected.path / "config.yaml", file)
        kills: list[Kill] = []
        drivers: list[Driver] = []
        seen: set[bytes] = set()
        hung = idle = 0
        while True:
            words = (
                ["resume", str(path)] if (path / "manifest.json").is_file() else ["run", str(file), "--out", str(path)]
            )
            driver = Driver([*words, "--workers", "2"], folder)
            drivers.append(driver)
            before = len(kills), len(_lines(path))
            hung += _torment(driver, path, rng, kills, most, seen)
            idle = idle + 1 if (len(kills), len(_lines(path))) == before else 0
            if idle > ATTEMPTS:
                raise TelosError(f"round {number}", f"no way on; its log: {driver.log.read_text()[-500:]}", "progress")
            if driver.process.returncode == 0:
                break
        left = _farewell([driver.token for driver in drivers])
        return {
            "round": number,
            "episodes": episodes,
            "kills": len(kills),
            "killed": dict(Counter(kill.process for kill in kills)),
            "drivers": len(drivers),
            "hung": hung,
            "unexplained": sum("Traceback" in line for line in driver.log.read_text(errors="replace").splitlines()),
            "statuses": dict(Counter(str(driver.process.returncode) for driver in drivers)),
            "orphans": len(left),
            "rows_seen_before_kills": len(seen),
            **compared(RunDir.open(path), expected, seen),
            "each": [asdict(kill) for kill in kills],
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _torment(
    driver: Driver, path: Path, rng: np.random.Generator, kills: list[Kill], most: int, seen: set[bytes]
) -> int:
    """Kill processes of a driver until it ends; returns 1 if it hung, else 0.

    Adds the kills to `kills`, and the rows that are on disk before each kill to `seen`.
    """
    size, heard = -1, time.monotonic()
    while driver.process.poll() is None:
        pause = rng.uniform(0, WAIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.process.wait(pause)
        now = (path / "episodes.jsonl").stat().st_size if (path / "episodes.jsonl").is_file() else 0
        if now != size:
            size, heard = now, time.monotonic()
        elif time.monotonic() - heard > PATIENCE:
            driver.process.kill()
            driver.process.wait()
            return 1
        there = driver.processes()
        if driver.process.poll() is None and there and len(kills) < most:
            pid = int(rng.choice(sorted(there)))
            seen.update(_lines(path))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                if there[pid] == KINDS["agent.command.cli"]:
                    driver.process.wait()
                kills.append(Kill(there[pid], round(driver.seconds, 2), "went on"))
        if driver.process.poll() is not None and kills and driver.process.returncode != 0:
            kills[-1] = Kill(kills[-1].process, kills[-1].at, f"ended with {driver.process.returncode}")
    return 0


def _farewell(tokens: Sequence[str]) -> dict[int, str]:
    """Wait until all processes of the drivers have ended; returns those still alive after FAREWELL seconds."""
    began = time.monotonic()
    while True:
        left = {pid: kind for token in tokens for pid, kind in living(token).items()}
        if not left or time.monotonic() - began > FAREWELL:
            return left
        time.sleep(1)


def table(found: list[dict[str, Any]]) -> str:
    """The totals of all rounds as a Markdown table."""
    total = {
        name: sum(row[name] for row in found) for name in ("kills", "episodes", "drivers", "rows_seen_before_kills")
    }
    bad = {
        name: sum(row[name] for row in found)
        for name in ("lost", "duplicated", "differing", "hung", "unexplained", "orphans")
    }
    killed: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for row in found:
        killed.update(row["killed"])
        statuses.update(row["statuses"])
    lines = [
        "| kills | of them | rounds | commands started | exit statuses | episodes | rows on disk before kills | lost "
        "| duplicated | differing | hung | tracebacks | processes left |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        f"| {total['kills']} | {', '.join(f'{count} {kind}' for kind, count in killed.most_common())} | {len(found)} "
        f"| {total['drivers']} | {', '.join(f'{count}x {status}' for status, count in statuses.most_common())} "
        f"| {total['episodes']} | {total['rows_seen_before_kills']} | {' | '.join(str(v) for v in bad.values())} |",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = rows.parser("faults", __doc__)
    parser.add_argument("--kills", type=rows.count, default=200)
    parser.add_argument("--episodes", type=rows.count, default=60, help="of each round")
    options = parser.parse_args(argv)
    while not options.table:
        found = rows.read(options.out)
        made = sum(row["kills"] for row in found)
        if made >= options.kills:
            break
        row = play(len(found), options.episodes, options.kills - made)
        rows.append(options.out, row)
        print(
            f"round {row['round']}: {row['kills']} kills, {row['lost']} lost, {row['duplicated']} duplicated, "
            f"{row['differing']} differing, {row['orphans']} processes left",
            flush=True,
        )
    print(table(rows.read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
