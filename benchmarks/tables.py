"""Writes the measured tables into README.md and docs/cluster.md, from the rows in `benchmarks/results/`.

python -m benchmarks.tables            rewrite the blocks between the markers
python -m benchmarks.tables --check    exit 1 where one is out of date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from agent.config.load import load, preset_of
from benchmarks import ablations, hopeless, returns, robust
from benchmarks.harness import rows
from benchmarks.peers import peers
from benchmarks.planners import planners
from benchmarks.planners import scores as planner_scores
from benchmarks.planners import tables as planner_tables
from benchmarks.quickstart import twins as quickstart_twins
from benchmarks.sac import sac
from benchmarks.systems import faults, parallel, scaling, throughput

ROOT = Path(__file__).parent.parent
FOUND_WITH = (
    "Horizon, knots and cost are those of the presets, which were found with iCEM; it has its own parameters from "
    "them, the others have their defaults. (The share that acrobot's preset gives to iLQR is too small for one step of "
    "it here, and all goes to the samples.) Normalised: the mean of the random episodes (`--planners random "
    "--seeds 30`), taken as exact, is 0, the best published return 1. Equal returns have an interval of no width, "
    "which says nothing about other starts."
)
HARD = "telos bench planners --tasks hard --planners sampling --budget 5000 --threads 1"
OWN = "The seeds are those on which the presets were chosen (0 to 2)."
COMMANDS = MappingProxyType({"steps": HARD, "time": f"{HARD} --match time"})
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def readme() -> str:
    """The README's measured section as Markdown."""
    parts = [
        "Default presets on real dm_control episodes of 1,000 frames (`telos bench returns`); the return is the "
        "environment's own, the interval that of a bounded mean, 95 %, over seeds (docs/adr/013-intervals-of-bounded-"
        "returns.md); seeds 0 to 4, of which the presets were chosen on 0 to 2. CEM (PlaNet) is that paper's row with "
        "the true simulator:",
        returns.table(rows.read(returns.OUT)),
        "The quickstart and its unguarded twin, which exists in `benchmarks/` alone, from the same starts "
        "(`telos bench quickstart_twins`):",
        quickstart_twins.table(rows.read(quickstart_twins.OUT)),
        "How much of MuJoCo's own throughput is left, as ratios in one run (`telos bench throughput`; measured on 25 "
        "November 2026, since when planning checks more of what models and costs hand over):",
        throughput.table(rows.read(throughput.OUT)),
        throughput.shortfall(rows.read(throughput.OUT)),
        *_peers(),
        *_planners(),
        "What Ray workers bring on two CPUs (`telos bench parallel`):",
        parallel.table(rows.read(parallel.OUT)),
        "What is left of runs on two workers when random processes of theirs get SIGKILL at random moments, and "
        "`telos resume` goes on (`telos bench faults`):",
        faults.table(rows.read(faults.OUT)),
    ]
    return "\n\n".join(parts)


def _peers() -> list[str]:
    """The peers' part; none where they have not been measured."""
    found = rows.read(peers.OUT)
    if not found:
        return []
    return [
        "Side by side with other planners, each in its own virtual environment, one iteration of MPPI per decision, as "
        "ratios of one run (`telos bench peers`; measured on 24 November 2026, before those checks):",
        peers.table(found),
        peers.shortfall(found),
    ]


def _planners() -> list[str]:
    """What planners reach, as far as it has been measured."""
    parts: list[str] = []

    def add(found: Sequence[planner_scores.Row], words: str, table: Callable[[], str]) -> None:
        if found:
            parts.extend([words.strip(), table()])

    suite, giants, hard, others = (
        rows.read(planners.OUT.with_name(f"{name}.jsonl")) for name in ("suite", "giants", "hard", "others")
    )
    add(
        suite,
        "One planner, one planner configuration per domain, on the real dm_control tasks, at most 40,000 physics steps "
        "per decision (`telos bench planners`; with `--budget 20000` for ball in cup, cart-pole, pendulum, "
        "quadruped-walk and reacher). Acrobot and fish give 0.7 and 0.3 of them to iLQR (`descent`, in their presets). "
        f"{_shaped()} TD-MPC2's column is what was learned in up to 4 million frames; a planner has the simulator "
        "instead, and no training. Times are of the preset's own seeds: two or three episodes at a time "
        "on two CPUs, one thread each. "
        + planner_tables.missing(suite, planners.DEFAULT, planners.SUITE, seeds=5)
        + f" {planner_tables.stale(suite)}".rstrip(),
        lambda: planner_tables.summary(suite),
    )
    add(
        giants,
        "The dog and the humanoid, one seed (`telos bench planners --tasks giants --seeds 1`). The humanoid is planned "
        "by the default preset, which was not made for it, and so were dog-run and dog-stand, before the dog had its "
        "own; that one differs in one thing, its plans leave out MuJoCo's passes against slip "
        "(docs/adr/009-what-the-planning-model-leaves-out.md). TD-MPC2's last values are those after 14 million "
        "frames. "
        + f"{planner_tables.missing(giants, planners.DEFAULT, planners.GIANTS, seeds=1)} ".lstrip()
        + planner_tables.threaded(giants),
        lambda: planner_tables.summary(giants),
    )
    for match in planner_tables.MATCHES:
        table = planner_tables.matrix(hard, match)
        if table:
            given, count = _given(hard, match), planner_tables.seeds(hard, match)
            words = f"All sampling planners, matched by {match} (`{COMMANDS[match]}`): {given}; {count}. {OWN} "
            words += f"{FOUND_WITH} {planner_tables.stale(hard)}".rstrip()
            add(hard, words, lambda t=table: t)
    add(
        others,
        "Planners that do not sample alone, one seed on two small tasks (`telos bench planners --seeds 1 --budget "
        "20000 --tasks cartpole-swingup --planners ilqr mcts`, and `--tasks pendulum-swingup --planners "
        "value_iteration dijkstra sst`), with the horizon and cost of the presets and their own defaults. "
        "Dijkstra's 31 cells per coordinate are too coarse for the pendulum: hardly a control step leaves one, so "
        "that next to nothing is searched (it and A* find the way up with `cells` 201 and a longer `hold`, as a "
        "test has it):",
        lambda: planner_tables.summary(others),
    )
    trained = rows.read(sac.OUT)
    add(
        trained,
        "For scale, a model-free agent: SAC of Stable-Baselines3 with its default parameters (`telos bench sac`, extra "
        "`sac`), trained in the same environments, each action lasting two frames as in TD-MPC2's results, evaluated "
        "without exploration from the planners' starts. No guardrail is enforced on it: its violating frames on "
        "cartpole-swingup are of the rail that planners keep:",
        lambda: sac.table(trained),
    )
    found = rows.read(robust.OUT)
    add(
        found,
        "Mass, gain or both 30 % off, unknown to the planner, under a guardrail (`telos bench robust`): `plain` plans "
        "with the nominal model; `worst` for the worst of five physics, the nominal one and the four corners, which "
        "are half of the worlds tried (nothing outside them was), at as many steps, so with a fifth of the candidates; "
        "`worst_x5` with as many candidates as `plain`; `mean` and `cvar` are there and have no rows. "
        f"The guardrails are the benchmark's own: {robust.guarded()}. Once one is violated and no action can mend it "
        "at once, the fallback acts, so that few episodes recover:",
        lambda: robust.table(found),
    )
    changed = rows.read(ablations.OUT)
    add(
        changed,
        f"What single choices bring (`telos bench ablations NAME --budget {max(row['budget'] for row in changed)}`). "
        + ablations.missing(changed),
        lambda: ablations.table(changed),
    )
    given_up = rows.read(hopeless.OUT)
    add(
        given_up,
        "What ending candidates that cannot win any more could spare; telos simulates them to their end "
        "(`telos bench hopeless`, docs/adr/009-what-the-planning-model-leaves-out.md):",
        lambda: hopeless.table(given_up),
    )
    return parts


def _shaped() -> str:
    """How many tasks of the suite are planned with more than their reward."""
    presets = (load(preset_of(task), task=task) for task in (f"dm_control/{name}-v0" for name in planners.SUITE))
    count = sum(bool(preset.cost.residuals) for preset in presets)
    return f"{count} of the tasks have cost terms of their own besides the reward in their presets."


def _given(hard: Sequence[planner_scores.Row], match: str) -> str:
    """What each plan of the matrix might spend, and how far it kept to it."""
    budget = max(row["budget"] for row in hard)
    if match == "steps":
        return f"{budget:,} physics steps per decision"
    names = sorted({planner_scores.name_of(row["task"]) for row in hard if row["match"] == match})
    given = planners.time_of(hard, names, budget, threads=1)
    return f"as many seconds as iCEM takes for {budget:,} physics steps; {planner_tables.kept(hard, given)}"


def cluster() -> str:
    """The measured section of docs/cluster.md as Markdown."""
    return scaling.table(rows.read(scaling.OUT))


BLOCKS: Mapping[Path, Callable[[], str]] = MappingProxyType(
    {ROOT / "README.md": readme, ROOT / "docs" / "cluster.md": cluster}
)


def written(file: Path) -> str:
    """The file's text with its block made anew."""
    head, rest = file.read_text(encoding="utf-8").split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{BLOCKS[file]()}\n\n{END}{tail}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = [file for file in BLOCKS if written(file) != file.read_text(encoding="utf-8")]
    if options.check:
        return int(bool(stale))
    for file in stale:
        file.write_text(written(file), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
