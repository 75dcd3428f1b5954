"""What is left of a run whose processes are killed, one after another, at random moments.

    telos bench faults                     200 kills, then the table
    telos bench faults --table

A round is one run of short episodes on two Ray workers. While it lasts, a random process of it (driver, Ray's own,
workers) gets SIGKILL after a random wait; where the driver is gone, `telos resume` goes on. When the run is
finished, its rows and steps are compared with those of the same run without Ray and without kills, and every row that
was on disk before some kill must be there still. Rounds follow
each other until there were enough kills; each leaves a row in `runs/bench/faults.jsonl`.
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
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from agent.command import run
from agent.config.config import Config
from agent.config.load import load
from agent.rollouts.row import TIMES, Row, Steps
from agent.runs.rundir import RunDir
from benchmarks.harness import rows
from envs.errors import TelosError

OUT = rows.RESULTS / "faults.jsonl"
TOKEN = "TELOS_FAULTS"  # in the environment of every process that a driver has started
WAIT = 12.0  # s between two kills, at most
PATIENCE = 240.0  # s without a new row or an exit, after which a driver counts as hung
FAREWELL = 150.0  # s after a run, within which its last process must have ended
KINDS = {  # in the command line -> what it is
    "gcs_server": "head (GCS)",
    "raylet/raylet": "node (raylet)",
    "ray::TelosWorker": "worker",
    "ray::IDLE": "idle worker",
    "agent.command.cli": "driver or its supervisor",
}
ATTEMPTS = 40  # drivers, one after another, that neither add a row nor are killed


def config_of(seed: int, episodes: int) -> Config:
    """Episodes of a fraction of a second, with a guardrail that matters to some of them."""
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

    process: str  # what it was
    at: float  # s since this driver began
    driver: str  # "went on", or how it ended


class Driver:
    """A `telos` command in a process of its own, with all that it starts."""

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
        """All that live: pid -> what it is."""
        return living(self.token)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began


def living(token: str) -> dict[int, str]:
    """Processes whose environment holds the token: pid -> what it is."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"{TOKEN}={token}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                kinds = [kind for part, kind in KINDS.items() if part in line]
                found[int(entry.name)] = kinds[0] if kinds else "other of Ray's"
    return found


def compared(found: RunDir, expected: RunDir, seen: Collection[bytes] = ()) -> dict[str, int]:
    """Episodes lost, counted twice, or other than they should be.

    Args:
        seen: lines that were in its episodes.jsonl at some moment: each must be there still, to the last bit.
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
    """The whole lines of episodes.jsonl, as far as there are any."""
    try:
        return (path / "episodes.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def _facts(rundir: RunDir, row: Any) -> tuple[Any, ...]:
    """All of an episode that does not depend on the clock."""
    steps = rundir.steps(row.episode)
    arrays = [getattr(steps, f.name).tobytes() for f in fields(Steps) if f.name not in ("plan_ms", "decision_ms")]
    return ({name: value for name, value in asdict(row).items() if name not in TIMES}, arrays)


def play(number: int, episodes: int, most: int) -> dict[str, Any]:
    """One round with at most so many kills, as a row."""
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
    """Kill processes of a driver until it has ended; whether it hung. Rows on disk before each kill go to `seen`."""
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
    """Wait for what the drivers left behind; return what stays."""
    began = time.monotonic()
    while True:
        left = {pid: kind for token in tokens for pid, kind in living(token).items()}
        if not left or time.monotonic() - began > FAREWELL:
            return left
        time.sleep(1)


def table(found: list[dict[str, Any]]) -> str:
    """All rounds together as a Markdown table."""
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
