"""Tests whether commands notice random changes to a run directory.

    telos bench tampering                    measure what is missing, then print the table
    telos bench tampering --table

The benchmark copies a small run and changes the copy in one way of `mutations.py`. The runs are of two tasks, with and
without guardrails, finished and interrupted. Then it calls `report`, `compare`, `explain` and `resume` on the copy. The
outcome of each command is one of:

- `refused`: a one-line error;
- `same`: the output for the original run, because nothing that counts has changed;
- `unfinished`: the output for a run that has only the remaining episodes, which the output says;
- `run again` (`resume` only): what does not fit is set aside, and the result has the original's rows and steps;
- `ACCEPTED`, `TRACEBACK` or `HANG`: a failure, which is anything else.

Plots are not drawn, because they show the same data as the tables. The number of a change is its random seed. Rows are
appended to `runs/bench/tampering.jsonl` after each change.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NoReturn
from unittest import mock

import numpy as np

from agent.command import run
from agent.command.cli import INTERRUPTED
from agent.command.cli import main as telos
from agent.config.config import Config
from agent.config.load import load
from agent.memory.episode import ARRAYS
from agent.memory.memory import Memory
from agent.reports import explain, report
from agent.rollouts.row import TIMES
from agent.runs.rundir import RunDir
from benchmarks.harness import rows
from benchmarks.tampering.mutations import KINDS
from envs.errors import TelosError

OUT = rows.RESULTS / "tampering.jsonl"
COMMANDS = ("report", "compare", "explain", "resume")
GOOD = ("refused", "same", "unfinished", "run again")
BAD = ("ACCEPTED", "TRACEBACK", "HANG")
PATIENCE = 60  # s
EPISODES = 3
RULES = (
    {"kind": "joint_position", "name": "rail", "joint": "slide", "lower": -1.0, "upper": 1.0, "unit": "m"},
    {"kind": "joint_velocity", "name": "slow", "joint": "slide", "limit": 0.6, "unit": "m/s", "scale": 0.1},
)
RUNS = MappingProxyType({"guarded": ("slide", RULES), "twin": ("slide", RULES), "bare": ("hinge", ())})
"""Name of a run -> type of its model's only joint, and its guardrails."""
MODEL = """\
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body><joint name="{joint}" type="{joint}" axis="1 0 0"/><geom size="0.1" pos="0 0.2 0" mass="1"/></body>
  </worldbody>
  <actuator><motor joint="{joint}" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
TASK = """\
model: {joint}.xml
control_period: 0.02
frames: 20
observation: [qpos, qvel]
reward: [{{signal: qpos, target: 0.5, norm: l2, width: 0.1, weight: 1.0}}]
reset: {{joints: {{{joint}: {{qpos: [-0.5, 0.5]}}}}}}
"""


class Hung(BaseException):
    """A command took longer than PATIENCE."""


class Bench:
    """The original runs, their results, and the expected output of every command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"  # every copy has this path, because reports and messages contain it
        self.others: dict[str, Path] = {}
        self._expected: dict[tuple[str, tuple[int, ...], str], tuple[int, str]] = {}
        self._came_to: dict[str, list[Any]] = {}  # id of a run -> its facts
        for name, (joint, rules) in RUNS.items():
            (folder / f"{joint}.xml").write_text(MODEL.format(joint=joint))
            (folder / f"{joint}.yaml").write_text(TASK.format(joint=joint))
            self.others[name] = run.run(_config(folder / f"{joint}.yaml", rules), folder / name, _silent()).path
            rundir = RunDir.open(self.others[name])
            self._came_to[rundir.manifest.id] = _facts(rundir)
        for name in ("guarded", "bare"):
            path = self.others[f"{name}, interrupted"] = shutil.copytree(self.others[name], folder / f"{name}-cut")
            for made in ("summary.json", "memory.safetensors", "report.html"):
                (path / made).unlink()
            kept = (path / "episodes.jsonl").read_bytes().splitlines(keepends=True)[: EPISODES - 1]
            (path / "episodes.jsonl").write_bytes(b"".join(kept))

    def measure(self, number: int) -> dict[str, Any]:
        """Change one run in one way and call the commands; returns a row of the change and the outcomes."""
        rng, kinds, names = np.random.default_rng([number]), list(KINDS), sorted(self.others)
        kind, name = kinds[number % len(kinds)], names[number // len(kinds) % len(names)]
        self._lay_down(name)
        what = KINDS[kind](rng, self.run, {other: path for other, path in self.others.items() if other != name})
        there = self._episodes()
        found = {command: self._outcome(command, name, there) for command in COMMANDS}
        return {"number": number, "run": name, "kind": kind, "what": what, **found}

    def _lay_down(self, name: str) -> None:
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.copytree(self.others[name], self.run)

    def _episodes(self) -> tuple[int, ...] | None:
        """The episodes of the changed run; None if its rows cannot be read."""
        try:
            return tuple(row.episode for row in RunDir.open(self.run).rows())
        except TelosError:
            return None

    def _outcome(self, command: str, name: str, there: tuple[int, ...] | None) -> str:
        try:
            status, said, err = self._called(command, name)
        except Hung:
            return "HANG"
        except Exception:
            return "TRACEBACK"
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        if "Traceback" in err:
            return "TRACEBACK"
        if status == 2:
            alone = command == "resume" or err.count("\n") == 1  # resume first reports what it set aside
            return "refused" if alone and err.splitlines()[-1].startswith("telos: ") else "ACCEPTED"
        if command == "resume":
            if status != 0 or not self._whole():
                return "ACCEPTED"
            return "run again" if "set aside" in err or "dropped" in err else "same"
        if there is None or (status, said) != self._expectation(command, name, there):
            return "ACCEPTED"
        return "same" if len(there) >= EPISODES - ("interrupted" in name) else "unfinished"

    def _expectation(self, command: str, name: str, there: tuple[int, ...]) -> tuple[int, str]:
        """Exit status and output of a command on the finished original run, reduced to the episodes `there`."""
        key = name, there, command
        if key not in self._expected:
            changed = shutil.move(self.run, self.folder / "changed")
            self._lay_down(name.partition(",")[0])
            rundir = RunDir.open(self.run)
            rundir.rows_file.write_text("".join(row.line() for row in rundir.rows() if row.episode in there))
            self._expected[key] = self._called(command, name)[:2]
            shutil.rmtree(self.run)
            shutil.move(changed, self.run)
        return self._expected[key]

    def _called(self, command: str, name: str) -> tuple[int, str, str]:
        """A command's exit status, its output (the report, or stdout), and its stderr."""
        words = {
            "report": ["report", self.run],
            "compare": ["compare", self.run, self.others[name]],
            "explain": ["explain", self.run, "--step", 1],
            "resume": ["resume", self.run],
        }
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.object(report, "_picture", return_value=report.Picture("", "not drawn")),
            mock.patch.object(explain, "_drawn", return_value=False),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _patient(),
        ):
            status = telos([str(word) for word in words[command]])
        made = self.run / "report.html"
        said = made.read_text() if command == "report" and status == 0 else out.getvalue()
        return status, said, err.getvalue()

    def _whole(self) -> bool:
        """Whether the run now has the rows, steps, summary and memory of the original."""
        rundir = RunDir.open(self.run)
        return _facts(rundir) == self._came_to[rundir.manifest.id]


def _facts(rundir: RunDir) -> list[Any]:
    """All results of a finished run except times."""
    found: list[Any] = []
    for row in rundir.rows():
        steps = rundir.steps(row.episode)
        found.append({name: value for name, value in vars(row).items() if name not in TIMES})
        found += [value.tobytes() for name, value in steps.arrays().items() if name not in ("plan_ms", "decision_ms")]
    found.append({name: value for name, value in rundir.summary().items() if name not in TIMES})
    for episode in Memory.load(rundir.path / "memory.safetensors").episodes:
        found += [getattr(episode, name).tobytes() for name in ARRAYS]
    return found


def _config(task: Path, rules: Sequence[Mapping[str, Any]]) -> Config:
    search = {"horizon": 3, "budget": {"evaluations": 6}, "params": {"knots": 2, "iterations": 2, "elites": 2}}
    short = {"episodes": EPISODES, "frames": 3, "threads": 1, "video": False}
    return load("default", str(task), {**short, "planner": search, "guardrails": list(rules)})


def _silent() -> Any:
    from rich.console import Console

    return Console(file=io.StringIO())


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    """Raises Hung in a block that takes longer than `PATIENCE`. Works only in the main thread."""

    def ring(number: int, frame: FrameType | None) -> NoReturn:
        raise Hung

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of how often each kind of change led to each outcome."""
    names = [*GOOD, *BAD]
    lines = [f"| what was changed | changes | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
    total: Counter[str] = Counter()
    for kind in KINDS:
        mine = [row for row in found if row["kind"] == kind]
        counts = Counter(row[command] for row in mine for command in COMMANDS)
        total.update(counts)
        lines.append(f"| {kind} | {len(mine)} | {' | '.join(str(counts[name]) for name in names)} |")
    lines.append(f"| all | {len(found)} | {' | '.join(str(total[name]) for name in names)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = rows.parser("tampering", __doc__)
    parser.add_argument("--changes", type=rows.count, default=2_000)
    options = parser.parse_args(argv)
    if not options.table:
        done = {number for (number,) in rows.done(rows.read(options.out), ("number",))}
        with tempfile.TemporaryDirectory(prefix="telos-tampering-") as folder:
            bench = Bench(Path(folder))
            for number in range(options.changes):
                if number in done:
                    continue
                row = bench.measure(number)
                rows.append(options.out, row)
                if any(row[command] in BAD for command in COMMANDS):
                    print(json.dumps(row), flush=True)
    print(table(rows.read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
