"""Comparison with other planners: decision latency and simulated steps per second, as ratios within one run.

    telos bench peers                 make the peers' virtual environments, measure what is missing, print the table
    telos bench peers --table

judo-rai (MPPI on MuJoCo) gets telos's model of a dm_control task as XML, with the same reward, number of rollouts,
horizon and linear knots. pytorch-mppi plans in a latent world that both sides import from one file. Both sides run one
iteration of MPPI per decision, always from the same state. Before timing, both evaluate the same control sequences, and
their costs must agree.

Each side is its own process. Blocks of decisions alternate between the sides, so that other load on the machine affects
both alike; the first block of each side is not counted. By default judo uses one thread per rollout; separate rows give
it one thread per CPU. Rows go to `runs/bench/peers.jsonl`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.harness import rows
from benchmarks.peers import telos as peer_telos
from benchmarks.peers.process import VENVS, Peer, Process, environment, ours, theirs
from benchmarks.peers.table import shortfall, table
from benchmarks.peers.telos import Setting
from envs.errors import TelosError

OUT = rows.RESULTS / "peers.jsonl"
KEYS = ("peer", "task", "cpus", "peer_threads")
PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        "judo-rai": Peer("judo-rai", (("judo-rai==0.1.0",),)),
        # torch is pinned and installed first: pytorch-mppi's own open range may pull in several GB.
        "pytorch-mppi": Peer("pytorch-mppi", (("torch==2.13.0",), ("pytorch-mppi==0.9.1",))),
    }
)
MODULES = MappingProxyType({"judo-rai": "judo_side", "pytorch-mppi": "pytorch_mppi_side"})
TASKS = ("cartpole-swingup", "walker-walk")  # of the comparison with judo
SIMULATED = Setting(candidates=64, horizon=40, knots=10)
LATENT = Setting(candidates=512, horizon=12, knots=None)
TOLERANCE = 1e-4  # of costs, relative to their spread: contacts amplify rounding differences of MuJoCo releases


@dataclass(frozen=True)
class Contest:
    """One comparison to measure, which becomes a row."""

    peer: str
    task: str
    cpus: int  # of each side
    peer_threads: int

    @property
    def labels(self) -> dict[str, Any]:
        return {"peer": PEERS[self.peer].release, **{key: getattr(self, key) for key in KEYS[1:]}}


def contests(peers: Iterable[str], cpus: int) -> list[Contest]:
    """All comparisons with these peers when `cpus` CPUs are available."""
    found = []
    for peer in peers:
        if peer == "pytorch-mppi":
            found.append(Contest(peer, "latent", 1, 1))
            continue
        for task in TASKS:
            for count in sorted({1, min(2, cpus)}):
                found += [Contest(peer, task, count, threads) for threads in (SIMULATED.candidates, count)]
    return found


def measure(contest: Contest, python: Path, rounds: int, calls: int) -> dict[str, Any]:
    """Measure one comparison, as a row.

    Raises:
        TelosError: a side's process ends, or the costs do not agree.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        latent = contest.task == "latent"
        setting = LATENT if latent else SIMULATED
        given = peer_telos.latent(setting) if latent else peer_telos.simulated(contest.task, setting, folder)
        given |= {
            "cpus": sorted(os.sched_getaffinity(0))[: contest.cpus],
            "threads": contest.cpus,
            "peer_threads": contest.peer_threads,
        }
        settings = folder / "settings.json"
        settings.write_text(json.dumps(given), encoding="utf-8")
        with (
            Process("telos", ours("benchmarks.peers.telos"), settings) as telos,
            Process(contest.peer, theirs(python, MODULES[contest.peer]), settings) as peer,
        ):
            apart = disagreement(telos.ask(ask="totals"), peer.ask(ask="totals"))
            if not apart <= TOLERANCE:
                allowed = f"at most {TOLERANCE} of their spread: else the work is not the same"
                raise TelosError(f"peer {contest.peer}", f"costs that differ by {apart:.2g} of their spread", allowed)
            blocks = _blocks(telos, peer, rounds, calls)
            about = {"telos": telos.about, "peer": peer.about}
    steps = setting.candidates * setting.horizon * given["substeps"]
    return {
        **contest.labels,
        **asdict(setting),
        "steps": steps,
        **ratios(blocks, steps),
        "costs_differ": apart,
        "tolerance": TOLERANCE,
        "versions": {side: found["versions"] for side, found in about.items()},
        "threads": {side: found["threads"] for side, found in about.items()},
        "machine": machine(),
    }


def _blocks(telos: Process, peer: Process, rounds: int, calls: int) -> list[dict[str, Any]]:
    """Rounds of one block per side; the order alternates, and the first round, a warm-up, is left out."""
    found = []
    for index in range(rounds + 1):
        order = [("telos", telos), ("peer", peer)][:: 1 if index % 2 else -1]
        found.append({name: side.ask(ask="block", calls=calls) for name, side in order})
    return found[1:]


def disagreement(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest difference between two lists of costs, relative to the spread (max - min) of the first."""
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / (max(ours) - min(ours))


def ratios(blocks: Sequence[Mapping[str, Mapping[str, Sequence[float]]]], steps: int) -> dict[str, Any]:
    """Medians over all blocks and their ratios telos / peer; for latency also the range of ratios of single rounds.

    Args:
        blocks: for each round, {"telos", "peer"} -> {"decide", "roll_out"} -> s of each call.
        steps: physics or network steps that one call simulates.
    """

    def median(side: str, what: str) -> float:
        return statistics.median(seconds for block in blocks for seconds in block[side][what])

    decide, roll_out = ({side: median(side, what) for side in ("telos", "peer")} for what in ("decide", "roll_out"))
    rounds = [statistics.median(b["telos"]["decide"]) / statistics.median(b["peer"]["decide"]) for b in blocks]
    return {
        **{f"{side}_decision_ms": round(1e3 * value, 4) for side, value in decide.items()},
        "decision_ratio": round(decide["telos"] / decide["peer"], 4),
        "decision_ratio_of_rounds": [round(min(rounds), 4), round(max(rounds), 4)],
        "floor_ratio": round(roll_out["telos"] / decide["peer"], 4),  # if deciding took only the rollouts
        **{f"{side}_steps_per_second": round(steps / value) for side, value in roll_out.items()},
        "steps_ratio": round(roll_out["peer"] / roll_out["telos"], 4),
    }


def machine() -> str:
    """The processor's name and the number of usable CPUs."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} CPUs"


def main(argv: Sequence[str] | None = None) -> int:
    parser = rows.parser("peers", __doc__)
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--rounds", type=rows.count, default=12, help="blocks of each side")
    parser.add_argument("--calls", type=rows.count, default=5, help="decisions, and rollouts, in a block")
    parser.add_argument("--venvs", type=Path, default=VENVS, help="where the peers' virtual environments are, and go")
    options = parser.parse_args(argv)
    if not options.table:
        there = rows.done(rows.read(options.out), KEYS)
        wanted = contests(options.peers, len(os.sched_getaffinity(0)))
        for contest in wanted:
            if tuple(contest.labels.values()) in there:
                continue
            python = environment(PEERS[contest.peer], options.venvs)
            print(f"telos: {' '.join(map(str, contest.labels.values()))}", file=sys.stderr, flush=True)
            rows.append(options.out, measure(contest, python, options.rounds, options.calls))
    found = rows.read(options.out)
    print(table(found))
    print(f"\n{shortfall(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
