"""What each part of the goal recipe is for: a point mass among walls, goals 100 steps ahead.

    telos bench worldmodels --only ablation                       measure what is missing, then print the table
    telos bench worldmodels --only ablation --arms full sigreg --seeds 0..2

Three corridors are joined at alternate ends, so the straight way to a goal often leads into a wall. All arms have the
same experience, the same number of updates, the same planner, and the same starts and goals. A seed is a training of
its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from agent.learning import evaluate, recipe
from agent.learning.collect import RandomActions
from agent.learning.evaluate import Attempts
from agent.learning.floors import oracle
from agent.learning.prepare import world_of
from agent.learning.recipe import Recipe
from agent.learning.train import begin
from agent.runs import statistics
from benchmarks.harness import rows
from envs.guard.world import GuardedWorld

OUT = rows.RESULTS / "worldmodels" / "ablation.jsonl"
WALLS = Path(__file__).parent / "walls"
STARTS_SEED = 0x3A115  # of starts and goals, whatever the seed of a training
INNER = (-0.1, 0.1)  # m, the x of the two inner walls
_KEPT: Mapping[str, float] = MappingProxyType({"prediction": 1, "similarity": 1, "inverse": 1, "inverse_ends": 1})
LEARNED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "full": {},
        "without variance": {"losses.variance": 0},
        "without covariance": {"losses.covariance": 0},
        "without similarity": {"losses.similarity": 0},
        "without inverse": {"losses.inverse": 0},
        "without inverse_ends": {"losses.inverse_ends": 0},
        "without reach": {"reach": None},
        "sigreg": {"losses": {**_KEPT, "sigreg": 0.1}},
        "teacher": {"losses": dict(_KEPT), "learn.target": "teacher"},
        "simnorm": {"losses": dict(_KEPT), "model.latent_form": "simnorm", "model.latent": 32},
        "prediction alone": {"losses": {"prediction": 1}},
        "raw state": {"losses": {"prediction": 1}, "model.encoder": "identity"},
        "frozen encoder": {"losses": {"prediction": 1}, "model.encoder": "frozen"},
        "autoencoder": {"losses": {"prediction": 1, "reconstruction": 1}, "learn.target": "stop"},
        "InfoNCE": {"losses": {"contrastive": 1}},
    }
)
"""Arm -> fields of the recipe that differ."""
ARMS = (*LEARNED, "simulator", "random")
UNTRAINED = ("simulator", "random")  # the same for every seed, so only the first one is measured
KEYS = ("arm", "seed", "starts")


def measure(out: Path, arms: Sequence[str], seeds: Sequence[int], more: Mapping[str, Any]) -> None:
    """Append the rows that are missing, one for each arm and seed."""
    torch.set_num_threads(1)
    for seed in seeds:
        for arm in arms:
            asked = asked_of(arm, seed, more)
            assert asked.evaluate.goals is not None, "the recipe of walls has goals"
            key = (arm, seed, asked.evaluate.goals.starts)
            if key in rows.done(rows.read(out), KEYS) or (arm in UNTRAINED and seed != seeds[0]):
                continue
            row = _untrained(arm, asked) if arm in UNTRAINED else _trained(asked)
            rows.append(out, {"arm": arm, "seed": seed, **row})
            print(arm, seed, f"{row['reached']} of {row['starts']}", flush=True)


def asked_of(arm: str, seed: int, more: Mapping[str, Any]) -> Recipe:
    """The recipe of an arm."""
    own = {"task": str(WALLS / "walls.yaml"), "seed": seed, **more, **LEARNED.get(arm, {})}
    return recipe.load(str(WALLS / "train.yaml"), own)


def _untrained(arm: str, asked: Recipe) -> dict[str, Any]:
    known = oracle(asked.config(""))
    attempts = evaluate.planning(known, None, shown=False) if arm == "simulator" else evaluate.acting(RandomActions(2))
    world, _ = world_of(known)
    with closing(world.env):
        return _tried(world, attempts, asked)


def _trained(asked: Recipe) -> dict[str, Any]:
    """The outcome of a training; evaluations of its own are left out, but for the state of its model."""
    assert asked.evaluate.goals is not None
    brief = asked.evaluate.goals.model_copy(update={"starts": 1})
    with tempfile.TemporaryDirectory() as folder:
        given = asked.model_copy(update={"evaluate": asked.evaluate.model_copy(update={"goals": brief})})
        training = begin(given, Path(folder) / "run")
        while not training.finished:
            training.cycle()
        with closing(training.world.env):
            last = training.folder.lines("curve")[-1]
            found = _tried(training.world, training.attempts(), asked)
    health = last["health"]
    return {
        **found,
        "std_least": health["std_least"],
        "rank": health["rank"],
        "probe_r2": min(health["probe_r2"].values()),
        "usable_steps": health["usable"],
        "alarms": last["alarms"],
        "updates": last["updates"],
        "train_seconds": training.seconds["env"] + training.seconds["update"],
        "model_sha256": last["model_sha256"],
    }


def _tried(world: GuardedWorld, attempts: Attempts, asked: Recipe) -> dict[str, Any]:
    """The outcome of all starts, and of those whose goal is in another corridor."""
    goals = asked.evaluate.goals
    assert goals is not None
    (ahead,) = goals.ahead
    found = list(evaluate.tried(world, attempts, goals, ahead, STARTS_SEED))
    score = evaluate.scored(ahead, found)
    apart = [_corridor(one.attempt.states[0]) != _corridor(one.pair.state) for one in found]
    hits = np.array([bool(one.hits.any()) for one in found])
    return {
        "ahead": ahead,
        "starts": len(found),
        "reached": int(hits.sum()),
        "stayed": sum(bool(one.hits[-1]) for one in found),
        "elsewhere": int(np.sum(apart)),
        "elsewhere_reached": int(hits[np.array(apart)].sum()),
        "each": "".join(str(int(hit)) for hit in hits),
        "steps": score.steps,
        "plan_ms": score.plan_ms,
    }


def _corridor(state: np.ndarray) -> int:
    """Which of the three corridors the mass is in; a state is time, then x and y."""
    return int(np.searchsorted(INNER, state[1]))


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table, one line for each arm, over all seeds; the interval is that of the worst seed."""
    lines = [
        "| arm | seeds | reached, % | worst seed, % [Wilson 95 %] | other corridor, % | still there, % "
        "| least std | rank | probe R² | usable steps | alarms |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in ARMS:
        mine = [row for row in found if row["arm"] == arm]
        if mine:
            lines.append(_line(arm, mine))
    return "\n".join(lines)


def _line(arm: str, mine: Sequence[Mapping[str, Any]]) -> str:
    starts = sum(row["starts"] for row in mine)
    worst = statistics.rate(min(row["reached"] for row in mine), mine[0]["starts"])
    elsewhere = sum(row["elsewhere"] for row in mine)
    cells = [
        arm,
        str(len(mine)),
        f"{100 * sum(row['reached'] for row in mine) / starts:.1f}",
        f"{100 * worst.mean:.0f} [{100 * (worst.low or 0):.0f}, {100 * (worst.high or 0):.0f}]",
        f"{100 * sum(row['elsewhere_reached'] for row in mine) / max(elsewhere, 1):.0f} of {elsewhere}",
        f"{100 * sum(row['stayed'] for row in mine) / starts:.1f}",
    ]
    if "rank" in mine[0]:
        sounded = sum(bool(row["alarms"]) for row in mine)
        means = {
            name: np.mean([row[name] for row in mine]) for name in ("std_least", "rank", "probe_r2", "usable_steps")
        }
        cells += [f"{means['std_least']:.2g}", f"{means['rank']:.1f}", f"{means['probe_r2']:.2f}"]
        cells += [f"{means['usable_steps']:.0f}", f"{sounded} of {len(mine)}"]
    else:
        cells += ["–"] * 5
    return f"| {' | '.join(cells)} |"
