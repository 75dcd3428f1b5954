"""Side by side with other planners: decision latency and simulated steps per second, as ratios of one run.

    telos bench peers                 make the peers' virtual environments, measure what is missing, print the table
    telos bench peers --table

judo-rai (MPPI on MuJoCo) gets telos's model of a dm_control task as XML, the same reward, as many rollouts, the same
horizon and linear knots; pytorch-mppi a latent world that both import from one file. Both sides run one iteration of
MPPI per decision, from one state again and again. Before anything is timed, both evaluate the same control sequences,
and their costs must agree.
Each side is a process of its own. Blocks of decisions alternate between them, so that the machine's other load weighs
on both alike; the first block of each is not counted. judo has one thread for every rollout; rows where it was given
as many as there are CPUs stand beside. Rows go to `runs/bench/peers.jsonl`.
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
        # torch first and pinned: the open range of pytorch-mppi's own may draw several GB.
        "pytorch-mppi": Peer("pytorch-mppi", (("torch==2.13.0",), ("pytorch-mppi==0.9.1",))),
    }
)
MODULES = MappingProxyType({"judo-rai": "judo_side", "pytorch-mppi": "pytorch_mppi_side"})
TASKS = ("cartpole-swingup", "walker-walk")  # of judo's comparison
SIMULATED = Setting(candidates=64, horizon=40, knots=10)
LATENT = Setting(candidates=512, horizon=12, knots=None)
TOLERANCE = 1e-4  # of costs, relative to their spread: contacts amplify what two releases of MuJoCo round otherwise


@dataclass(frozen=True)
class Contest:
    """One row to be."""

    peer: str
    task: str
    cpus: int  # of each side
    peer_threads: int

    @property
    def labels(self) -> dict[str, Any]:
        return {"peer": PEERS[self.peer].release, **{key: getattr(self, key) for key in KEYS[1:]}}


def contests(peers: Iterable[str], cpus: int) -> list[Contest]:
    """All rows of these peers on a machine with so many CPUs for us."""
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
    """One row.

    Raises:
        TelosError: a side that ends, or costs that do not agree.
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
    """Rounds of one block of each side; who goes first alternates, and the first round only warms up."""
    found = []
    for index in range(rounds + 1):
        order = [("telos", telos), ("peer", peer)][:: 1 if index % 2 else -1]
        found.append({name: side.ask(ask="block", calls=calls) for name, side in order})
    return found[1:]


def disagreement(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest difference between two lists of costs, relative to how far the costs are apart among themselves."""
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / (max(ours) - min(ours))


def ratios(blocks: Sequence[Mapping[str, Mapping[str, Sequence[float]]]], steps: int) -> dict[str, Any]:
    """Medians over all blocks, and their ratios telos / peer; for latency the least and largest of single rounds too.

    Args:
        blocks: round by round {"telos", "peer"} -> {"decide", "roll_out"} -> s of each call.
        steps: simulated by one call.
    """

    def median(side: str, what: str) -> float:
        return statistics.median(seconds for block in blocks for seconds in block[side][what])

    decide, roll_out = ({side: median(side, what) for side in ("telos", "peer")} for what in ("decide", "roll_out"))
    rounds = [statistics.median(b["telos"]["decide"]) / statistics.median(b["peer"]["decide"]) for b in blocks]
    return {
        **{f"{side}_decision_ms": round(1e3 * value, 4) for side, value in decide.items()},
        "decision_ratio": round(decide["telos"] / decide["peer"], 4),
        "decision_ratio_of_rounds": [round(min(rounds), 4), round(max(rounds), 4)],
        "floor_ratio": round(roll_out["telos"] / decide["peer"], 4),  # of a decision that were rollouts alone
        **{f"{side}_steps_per_second": round(steps / value) for side, value in roll_out.items()},
        "steps_ratio": round(roll_out["peer"] / roll_out["telos"], 4),
    }


def machine() -> str:
    """What the rows were measured on."""
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
