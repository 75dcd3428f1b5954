"""Goals without reward: poses of reacher, from random exploration alone.

    telos bench worldmodels --only goals              measure what is missing, then print the table
    telos bench worldmodels --only goals --table

Starts and goals are the same for all arms and seeds, are none of training's, and none is solved at its start. A goal
counts as reached when both joints are within 0.05 rad of the pose and slower than 0.5 rad/s, judged on the world's
state. Arms:

- `jepa`: the recipe `reacher_goals`; a seed is a training of its own.
- `raw`: the same, but the encoder is the normalised observation, and only prediction is trained.
- `simulator, raw`, `simulator, learned`: MuJoCo itself predicts; the cost is the distance of raw observations, or that
  of what a trained encoder makes of them.
- `pd`: a proportional-derivative controller on the joints.
- `random`: actions as those that the experience was collected with.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agent import build
from agent.config.config import Config
from agent.learned import learned, modules_of
from agent.learning import evaluate, recipe
from agent.learning.collect import RandomActions
from agent.learning.evaluate import Attempt, Attempts
from agent.learning.floors import oracle
from agent.learning.goals import GoalPair
from agent.learning.prepare import world_of
from agent.learning.train import begin
from agent.runs import statistics
from benchmarks.harness import rows
from envs.guard.world import GuardedWorld, Judged
from envs.percept import Percept
from envs.requests import Request
from envs.task import TaskParams, at_states
from envs.trajectory import Trajectory
from worldmodels.checkpoint import Checkpoint
from worldmodels.jepa.networks import Networks
from worldmodels.jepa.saved import model_of

OUT = rows.RESULTS / "worldmodels" / "goals.jsonl"
RECIPE = "reacher_goals"
STARTS_SEED = 0x60A15  # of starts and goals, whatever the seed of a training
RAW: Mapping[str, Any] = {"model.encoder": "identity", "losses": {"prediction": 1.0}}
ARMS = ("jepa", "raw", "simulator, raw", "simulator, learned", "pd", "random")
UNTRAINED = ("simulator, raw", "pd", "random")  # the same for every seed, so only the first one is measured
KEYS = ("arm", "seed", "ahead", "starts")
GAINS = (
    4.0,
    0.15,
)  # of the PD controller: action per rad, and per rad/s, the best of 24 pairs tried


class Pd:
    """A proportional-derivative controller towards a pose, as a collector that was told the goal."""

    name = "pd"

    def __init__(self, goal: np.ndarray) -> None:
        """
        Args:
            goal: (6,), the observation of the pose: position (2), to_target (2), velocity (2).
        """
        self._goal = goal

    def begin(self, seed: int) -> None:
        """Nothing: the controller has no state."""

    def act(self, percept: Percept) -> np.ndarray:
        seen = percept.observation
        apart = self._goal[:2] - seen["position"]
        apart[0] = (apart[0] + math.pi) % (2 * math.pi) - math.pi  # the shoulder turns freely, the wrist does not
        return np.clip(GAINS[0] * apart - GAINS[1] * seen["velocity"], -1, 1)

    def remember(self, judged: Judged) -> None:
        """Nothing, as `begin`."""


@dataclass(frozen=True, eq=False)
class Metric:
    """The distance to a goal of what an encoder makes of the simulator's states."""

    encode: Callable[[Tensor], Tensor]  # observations (…,6) float32 -> points
    wanted: Tensor  # the goal's point
    requests: tuple[Request, ...] = at_states("qpos", "qvel")

    def step_cost(self, trajectory: Trajectory, params: TaskParams) -> Tensor:
        """(N,H)"""
        qpos, qvel = (trajectory.signals.after(name)[..., :2].float() for name in ("qpos", "qvel"))
        with torch.inference_mode():
            found = self.encode(torch.cat([qpos, torch.zeros_like(qpos), qvel], -1)) - self.wanted
        return found.square().sum(-1).sqrt().double()


def simulated(config: Config, encode: Callable[[Tensor], Tensor]) -> Attempts:
    """Planning in MuJoCo, with the distance of encoded observations as the cost."""

    def attempt(world: GuardedWorld, pair: GoalPair, seed: int, steps: int) -> Attempt:
        assert pair.shown.observation is not None
        wanted = encode(torch.from_numpy(pair.shown.observation).float())
        metric = Metric(encode, wanted)
        task, interface = world.env.task, world.env.interface
        model = build.world_model(config, task, interface, metric.requests)
        agent = build.agent(config, task, interface, model=model, costs={"goal": (1.0, metric)})
        return evaluate.attempted(agent, world, pair, seed, steps)

    return attempt


def controlled(world: GuardedWorld, pair: GoalPair, seed: int, steps: int) -> Attempt:
    """The attempt of the PD controller."""
    assert pair.shown.observation is not None
    return evaluate.acting(Pd(pair.shown.observation))(world, pair, seed, steps)


def trained(seed: int, folder: Path, more: Mapping[str, Any]) -> tuple[Checkpoint, dict[str, float]]:
    """A training of the recipe with this seed, and its seconds by part; evaluations of its own are left out."""
    training = begin(recipe.load(RECIPE, {**more, "seed": seed, "evaluate.goals.starts": 1}), folder)
    while not training.finished:
        training.cycle()
    training.world.env.close()
    return Checkpoint.read(folder), training.seconds


Trainings = dict[tuple[int, bool], tuple[Checkpoint, dict[str, float]]]
"""Seed, and whether it is of `RAW` -> a training that two arms share."""


def arm(name: str, seed: int, more: Mapping[str, Any], trainings: Trainings) -> tuple[Config, Attempts, dict[str, Any]]:
    """The configuration of an arm's world, who tries there, and what its rows say of the training."""
    base = recipe.load(RECIPE, dict(more))
    known = oracle(base.config(""))
    if name in ("pd", "random"):
        own = RandomActions(2)
        return known, controlled if name == "pd" else evaluate.acting(own), {}
    raw = name.endswith("raw")
    if (seed, raw) not in trainings:
        with tempfile.TemporaryDirectory() as folder:
            trainings[seed, raw] = trained(seed, Path(folder) / "run", {**more, **(RAW if raw else {})})
    checkpoint, spent = trainings[seed, raw]
    model = model_of(checkpoint)
    said = {"train_seconds": spent["env"] + spent["update"], "model_sha256": checkpoint.sha256, "frames": base.frames}
    if name.startswith("simulator"):
        return known, simulated(known, encoder(model.networks)), said
    heads = learned(checkpoint.header.parts, modules_of(checkpoint), model)
    return base.config(""), evaluate.planning(base.config(""), model, learned=heads), said


def encoder(networks: Networks) -> Callable[[Tensor], Tensor]:
    """Observations (…,F) float32 -> latents, without gradients."""

    def encode(seen: Tensor) -> Tensor:
        with torch.inference_mode():
            return networks.encode(seen)

    return encode


def measure(out: Path, arms: Sequence[str], seeds: Sequence[int], more: Mapping[str, Any]) -> None:
    """Append the rows that are missing, one for each arm, seed and distance."""
    torch.set_num_threads(1)
    goals = recipe.load(RECIPE, dict(more)).evaluate.goals
    assert goals is not None, "the shipped recipe has goals"
    trainings: Trainings = {}
    for seed in seeds:
        for name in arms:
            done = rows.done(rows.read(out), KEYS)
            left = [ahead for ahead in goals.ahead if (name, seed, ahead, goals.starts) not in done]
            if not left or (name in UNTRAINED and seed != seeds[0]):
                continue
            config, attempts, said = arm(name, seed, more, trainings)
            world, _ = world_of(config)
            with closing(world.env):
                for ahead in left:
                    rows.append(out, {"arm": name, "seed": seed, **row(world, attempts, goals, ahead), **said})
                    print(name, seed, ahead, rows.read(out)[-1]["reached"], flush=True)


def row(world: GuardedWorld, attempts: Attempts, goals: Any, ahead: int) -> dict[str, Any]:
    """The outcome of all starts at one distance."""
    found = list(evaluate.tried(world, attempts, goals, ahead, STARTS_SEED))
    score = evaluate.scored(ahead, found)
    return {
        "ahead": ahead,
        "starts": score.starts,
        "reached": sum(bool(one.hits.any()) for one in found),
        "stayed": sum(bool(one.hits[-1]) for one in found),
        "each": "".join(str(int(one.hits.any())) for one in found),
        "steps": score.steps,
        "plan_ms": score.plan_ms,
        "decision_ms": score.decision_ms,
        "violations": score.violations,
    }


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table: one line for each arm and distance, over all seeds.

    The interval is that of the worst seed, because all seeds try the same starts, so that their tries are not
    independent.
    """
    lines = [
        "| arm | steps ahead | starts | seeds | reached, % | worst seed, % [Wilson 95 %] | success@k, % "
        "| still there, % | steps to goal | training, s | plan, ms | per decision, ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in ARMS:
        for ahead, starts in sorted({(one["ahead"], one["starts"]) for one in found}):
            mine = [one for one in found if (one["arm"], one["ahead"], one["starts"]) == (name, ahead, starts)]
            if mine:
                lines.append(_line(name, ahead, mine))
    return "\n".join(lines)


def _line(name: str, ahead: int, mine: Sequence[Mapping[str, Any]]) -> str:
    starts = sum(one["starts"] for one in mine)
    worst = statistics.rate(min(one["reached"] for one in mine), mine[0]["starts"])
    any_of = np.array([[int(c) for c in one["each"]] for one in mine]).any(0)
    at_k = f"{100 * any_of.mean():.1f} (k = {len(mine)})" if len(mine) > 1 else "–"
    stayed = 100 * sum(one["stayed"] for one in mine) / starts
    steps = [one["steps"] for one in mine if one["steps"] is not None]
    spent = [one["train_seconds"] for one in mine if "train_seconds" in one]
    parts = [
        name,
        str(ahead),
        str(mine[0]["starts"]),
        str(len(mine)),
        f"{100 * sum(one['reached'] for one in mine) / starts:.1f}",
        f"{100 * worst.mean:.1f} [{100 * (worst.low or 0):.1f}, {100 * (worst.high or 0):.1f}]",
        at_k,
        f"{stayed:.1f}",
        f"{np.mean(steps):.1f}" if steps else "–",
        f"{np.mean(spent):.0f}" if spent else "–",
        f"{np.median([one['plan_ms'] for one in mine]):.1f}",
        f"{np.mean([one['decision_ms'] for one in mine]):.2f}",
    ]
    return f"| {' | '.join(parts)} |"
