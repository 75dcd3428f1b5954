"""The rows that stand beside a learning curve: random actions, and planning in the simulator itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import Any

from agent.config.config import Config
from agent.learning import evaluate
from agent.learning.collect import RandomActions
from agent.learning.prepare import world_of
from agent.learning.train import Training
from agent.learning.traindir import TrainDir
from envs.files import contents, write
from envs.validation import validated

Floors = dict[str, list[dict[str, Any]]]


def measured(
    folder: TrainDir, training: Training, tell: Callable[[str], None], stop: Callable[[], bool]
) -> Floors | None:
    """Name -> scores on the starts and goals of the run's own evaluations; measured once, and kept in floors.json.

    None where `stop` said so before they were done.
    """
    file = folder.path / "floors.json"
    if file.exists():
        try:
            return json.loads(contents(file))
        except ValueError:
            file.unlink()  # cut short; it can be measured again
    goals, seed, known = training.recipe.evaluate.goals, training.seed, oracle(training.config)
    if goals is None:
        return {}
    actor = RandomActions(training.world.env.interface.action_size)
    rows = {
        "random": (training.config, evaluate.acting(actor)),
        "simulator": (known, evaluate.planning(known, None, shown=False)),
    }
    found: Floors = {}
    for name, (config, attempts) in rows.items():
        world, _ = world_of(config)
        found[name] = []
        with closing(world.env):
            for ahead in goals.ahead:
                tried = []
                for one in evaluate.tried(world, attempts, goals, ahead, seed):
                    if stop():
                        return None
                    tried.append(one)
                found[name].append(asdict(evaluate.scored(ahead, tried)))
        reached = ", ".join(f"{100 * one['success']['mean']:.0f} % at {one['ahead']} steps" for one in found[name])
        tell(f"{name}: {reached}")
    write(file, (json.dumps(found, indent=1) + "\n").encode())
    return found


def oracle(config: Config) -> Config:
    """The same planner in the simulator, from its exact state, towards the signals by which goals are judged."""
    values = config.model_dump()
    return validated(
        Config, {**values, "world_model": {"kind": "simulator"}, "perception": {"kind": "privileged"}}, "run"
    )
