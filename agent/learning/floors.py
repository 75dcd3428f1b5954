"""The rows that stand beside a learning curve: random actions, and planning in the simulator itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any, TypeVar

from agent.config.config import Config
from agent.learning import evaluate
from agent.learning.collect import RandomActions
from agent.learning.prepare import world_of
from agent.learning.returns import played, summed
from agent.learning.train import Training
from agent.learning.traindir import TrainDir
from envs.files import contents, write
from envs.validation import validated

T = TypeVar("T")

Floors = dict[str, dict[str, Any]]
"""`scores`: name -> scores on goals; `returns`: name -> the summary of episodes."""


class Stopped(Exception):
    """The user stopped before all rows were measured."""


def measured(
    folder: TrainDir, training: Training, tell: Callable[[str], None], stop: Callable[[], bool]
) -> Floors | None:
    """The rows on the starts of the run's own evaluations; measured once, and kept in floors.json.

    None where `stop` said so before they were done.
    """
    file = folder.path / "floors.json"
    if file.exists():
        try:
            return json.loads(contents(file))
        except ValueError:
            file.unlink()  # cut short; it can be measured again
    try:
        found = {"scores": _scores(training, tell, stop), "returns": _returns(training, tell, stop)}
    except Stopped:
        return None
    write(file, (json.dumps(found, indent=1) + "\n").encode())
    return found


def _scores(training: Training, tell: Callable[[str], None], stop: Callable[[], bool]) -> dict[str, Any]:
    goals, seed, known = training.recipe.evaluate.goals, training.seed, oracle(training.config)
    found: dict[str, Any] = {}
    if goals is None:
        return found
    actor = RandomActions(training.world.env.interface.action_size)
    rows = {
        "random": (training.config, evaluate.acting(actor)),
        "simulator": (known, evaluate.planning(known, None, shown=False)),
    }
    for name, (config, attempts) in rows.items():
        world, _ = world_of(config)
        found[name] = []
        with closing(world.env):
            for ahead in goals.ahead:
                tried = list(_until(stop, evaluate.tried(world, attempts, goals, ahead, seed)))
                found[name].append(asdict(evaluate.scored(ahead, tried)))
        reached = ", ".join(f"{100 * one['success']['mean']:.0f} % at {one['ahead']} steps" for one in found[name])
        tell(f"{name}: {reached}")
    return found


def _returns(training: Training, tell: Callable[[str], None], stop: Callable[[], bool]) -> dict[str, Any]:
    asked = training.recipe.evaluate.returns
    if asked is None:
        return {}
    episodes = list(_until(stop, played(training.world, training.random, asked.episodes, training.seed)))
    found = summed("random", episodes)
    tell(f"random: return {found.mean.mean:.1f}")
    return {"random": asdict(found)}


def _until(stop: Callable[[], bool], stream: Iterable[T]) -> Iterator[T]:
    """The items of a stream. Raises Stopped once `stop` returns True."""
    for one in stream:
        if stop():
            raise Stopped
        yield one


def oracle(config: Config) -> Config:
    """The same planner in the simulator, from its exact state, towards the signals by which goals are judged."""
    values = config.model_dump()
    return validated(
        Config, {**values, "world_model": {"kind": "simulator"}, "perception": {"kind": "privileged"}}, "run"
    )
