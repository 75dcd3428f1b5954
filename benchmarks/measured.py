"""The pages of docs/measured/: one per benchmark, as Markdown, from the rows in `benchmarks/results/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from agent.config.load import load, preset_of
from benchmarks import ablations, hopeless, returns, robust
from benchmarks.foreign import models as foreign_models
from benchmarks.harness import rows
from benchmarks.peers import peers
from benchmarks.planners import planners
from benchmarks.planners import scores as planner_scores
from benchmarks.planners import tables as planner_tables
from benchmarks.quickstart import twins as quickstart_twins
from benchmarks.sac import sac
from benchmarks.systems import faults, parallel, scaling, throughput
from benchmarks.tampering import tampering
from benchmarks.worldmodels import goals, kills, rewards


class Page(NamedTuple):
    """A page of docs/measured/."""

    title: str
    parts: Callable[[], list[str]]  # paragraphs and tables


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


def returns_page() -> list[str]:
    """Returns of the default presets."""
    return [
        "Default presets on real dm_control episodes of 1,000 frames (`telos bench returns`). The return is the "
        "environment's own; its 95 % interval over seeds is that of a bounded mean "
        "([ADR 13](../adr/013-intervals-of-bounded-returns.md)). Seeds are 0 to 4; the presets were chosen on 0 to 2. "
        "CEM (PlaNet) is that paper's row with the true simulator.",
        returns.table(rows.read(returns.OUT)),
    ]


def quickstart_page() -> list[str]:
    """The quickstart's guardrail, enforced and not."""
    return [
        "Both agents begin at the same starts, and the same monitor scores both (`telos bench quickstart_twins`). The "
        "unguarded twin exists in `benchmarks/` alone.",
        quickstart_twins.table(rows.read(quickstart_twins.OUT)),
    ]


def throughput_page() -> list[str]:
    """Planning speed as a share of MuJoCo's own throughput."""
    found = rows.read(throughput.OUT)
    return [
        "How much of MuJoCo's own throughput is left, as ratios in one run (`telos bench throughput`). Measured on 25 "
        "November 2026; since then planning checks more of what models and costs hand over.",
        throughput.table(found),
        throughput.shortfall(found),
    ]


def peers_page() -> list[str]:
    """Other planning libraries."""
    found = rows.read(peers.OUT)
    return [
        "Each library runs in a virtual environment of its own, with one iteration of MPPI per decision; figures are "
        "ratios of one run (`telos bench peers`). Measured on 24 November 2026; since then planning checks more of "
        "what models and costs hand over.",
        peers.table(found),
        peers.shortfall(found),
    ]


def parallel_page() -> list[str]:
    """Speed-up by Ray workers."""
    return [
        "What Ray workers bring on two CPUs (`telos bench parallel`).",
        parallel.table(rows.read(parallel.OUT)),
    ]


def faults_page() -> list[str]:
    """Kills at random moments."""
    return [
        "Runs on two workers, of which random processes get SIGKILL at random moments; then `telos resume` goes on "
        "(`telos bench faults`).",
        faults.table(rows.read(faults.OUT)),
    ]


def tampering_page() -> list[str]:
    """Edited run directories."""
    return [
        "Finished and interrupted runs, each changed in one way; then `report`, `compare`, `explain` and `resume` are "
        "called on the copy (`telos bench tampering`). `ACCEPTED` would be a change that a command took for the run as "
        "it was. Whoever can write the directory can still forge a run by computing every digest anew "
        "([ADR 17](../adr/017-one-truth-per-run.md)).",
        tampering.table(rows.read(tampering.OUT)),
    ]


def foreign_page() -> list[str]:
    """Models of other packages."""
    return [
        "Models from PyPI packages as tasks: each either runs 50 frames that equal a plain `mj_step` loop bit for bit, "
        "or is refused with one line (`python -m benchmarks.foreign.models`).",
        foreign_models.table(rows.read(rows.RESULTS / "foreign_models.jsonl")),
    ]


def scaling_page() -> list[str]:
    """Many workers."""
    return [
        "Trivial episodes on more workers than this machine has CPUs, and what follows for real ones "
        "(`telos bench scaling`; [cluster.md](../cluster.md) says how to read it).",
        scaling.table(rows.read(scaling.OUT)),
    ]


def sac_page() -> list[str]:
    """A model-free agent."""
    return [
        "For scale: SAC of Stable-Baselines3 with its default parameters (`telos bench sac`, extra `sac`), trained in "
        "the same environments, each action lasting two frames as in TD-MPC2's results, and evaluated without "
        "exploration from the planners' starts. No guardrail is enforced on it: its violating frames on "
        "cartpole-swingup are of the rail that planners keep.",
        sac.table(rows.read(sac.OUT)),
    ]


def robust_page() -> list[str]:
    """Physics unknown to the planner."""
    return [
        "Mass, gain or both are 30 % off, unknown to the planner, under a guardrail (`telos bench robust`). `plain` "
        "plans with the nominal model. `worst` plans for the worst of five physics, the nominal one and the four "
        "corners, at as many steps, so with a fifth of the candidates; these five are half of the worlds tried, and "
        "nothing outside them was. `worst_x5` has as many candidates as `plain`. `mean` and `cvar` can be measured "
        f"and have no rows. The guardrails are the benchmark's own: {robust.guarded()}. Once a guardrail is violated "
        "and no action can mend it at once, the fallback acts, so that few episodes recover. The digests in these "
        "rows are older than 28 November 2026, and do not cover the worlds.",
        robust.table(rows.read(robust.OUT)),
    ]


def ablations_page() -> list[str]:
    """Single choices."""
    changed = rows.read(ablations.OUT)
    return [
        f"What single choices bring (`telos bench ablations NAME --budget {max(row['budget'] for row in changed)}`). "
        + ablations.missing(changed),
        ablations.table(changed),
    ]


def hopeless_page() -> list[str]:
    """Candidates that cannot win."""
    return [
        "What ending candidates that cannot win any more could spare; telos simulates them to their end "
        "(`telos bench hopeless`, [ADR 9](../adr/009-what-the-planning-model-leaves-out.md)).",
        hopeless.table(rows.read(hopeless.OUT)),
    ]


def planners_page() -> list[str]:
    """Returns of every planner."""
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
        "([ADR 9](../adr/009-what-the-planning-model-leaves-out.md)). TD-MPC2's last values are those after 14 million "
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
    return parts


def _shaped() -> str:
    """A sentence on how many tasks of the suite have cost terms besides their reward."""
    presets = (load(preset_of(task), task=task) for task in (f"dm_control/{name}-v0" for name in planners.SUITE))
    count = sum(bool(preset.cost.residuals) for preset in presets)
    return f"{count} of the tasks have cost terms of their own besides the reward in their presets."


def _given(hard: Sequence[planner_scores.Row], match: str) -> str:
    """The budget of each plan of the matrix in words; for seconds, also how closely plans kept to it."""
    budget = max(row["budget"] for row in hard)
    if match == "steps":
        return f"{budget:,} physics steps per decision"
    names = sorted({planner_scores.name_of(row["task"]) for row in hard if row["match"] == match})
    given = planners.time_of(hard, names, budget, threads=1)
    return f"as many seconds as iCEM takes for {budget:,} physics steps; {planner_tables.kept(hard, given)}"


def world_models_page() -> list[str]:
    """Agents that plan in models which they learned."""
    return [
        "Every agent sees observations alone, and plans in a model that it learned from its own experience.",
        "## Goals without reward",
        "Poses of a two-link arm (reacher), from 100,000 frames of random motion (`telos bench worldmodels --only "
        "goals`, recipe `reacher_goals`). A goal is a pose at rest, 25, 50 or 100 steps of random actions ahead of "
        "its start; twice as many steps are allowed. It is reached when both joints are within 0.05 rad of it and "
        "slower than 0.5 rad/s, judged on the simulator's state. All rows try the same 200 starts, none of which "
        "is solved at once. The interval is Wilson's, of the worst seed. Times were measured beside another "
        "process on the same two cores.",
        goals.table(rows.read(goals.OUT)),
        "## Rewards",
        "100,000 environment frames (`telos bench worldmodels --only rewards`, recipe `rewards`, the same for all "
        "tasks), 10 episodes each. The interval is over seeds, or over the episodes of a single seed. Minutes are "
        "wall clock, beside other processes on the same two cores: collecting, updating and evaluating.",
        rewards.table(rows.read(rewards.OUT)),
        "## Kills",
        "Trainings were killed with SIGKILL at random moments and resumed (`telos bench worldmodels --only "
        "kills`). Weights, optimisers, experience and evaluations were compared with those of trainings that "
        "nobody killed, bit for bit.",
        kills.table(rows.read(kills.OUT)),
    ]


PAGES: Mapping[str, Page] = MappingProxyType(
    {
        "planners": Page("Planners", planners_page),
        "returns": Page("Returns of the default presets", returns_page),
        "quickstart": Page("The quickstart and its unguarded twin", quickstart_page),
        "robust": Page("Robust planning", robust_page),
        "sac": Page("A model-free agent", sac_page),
        "world_models": Page("Learned world models", world_models_page),
        "ablations": Page("Ablations", ablations_page),
        "hopeless": Page("Ending candidates early", hopeless_page),
        "throughput": Page("Throughput", throughput_page),
        "peers": Page("Other planning libraries, side by side", peers_page),
        "parallel": Page("Workers on one machine", parallel_page),
        "scaling": Page("Many workers", scaling_page),
        "faults": Page("Random kills", faults_page),
        "tampering": Page("Edited run directories", tampering_page),
        "foreign": Page("Models of other packages", foreign_page),
    }
)
"""The pages by name, in the order of the index."""
