"""The Gymnasium ids of all tasks, registered by `import telos`; neither torch nor MuJoCo is imported for it.

    task                              id
    dm_control/cartpole-swingup-v0    telos/dm_control-cartpole-swingup-v0
    Hopper-v5                         telos/Hopper-v5
    a YAML file (envs.mjcf.task)      telos/MJCF-v0, with file="arm.yaml"

Tasks that other packages add by the entry point `telos.tasks` are registered in the same way. Gymnasium 1 reads no
entry points: packages register when they are imported, and `gymnasium.make("telos:telos/Hopper-v5")` imports telos.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import gymnasium
from gymnasium import logger

from envs import registry
from envs.errors import TelosError
from envs.facts import FACTS

MJCF = "telos/MJCF-v0"
_MAKER = "envs.gym.scored:ScoredEnvironment"
_UNFIT = re.compile(r"[^\w.-]+")  # what a Gymnasium id cannot contain after its namespace


def id_of(task_id: str) -> str:
    """The Gymnasium id of a task: its own id under `telos/`, with "-" for what such an id cannot contain."""
    return f"telos/{_UNFIT.sub('-', task_id)}"


def register() -> None:
    """Register the ids of all tasks; ids that are registered already stay as they are.

    A task of another package is left out with a warning where its id is taken or is not a valid one.
    """
    if MJCF not in gymnasium.registry:
        gymnasium.register(MJCF, _MAKER)
    for task_id in _tasks():
        _register(task_id)


def _tasks() -> Iterable[str]:
    try:
        return registry.table()
    except TelosError as error:  # another package is wrong, which must not break `import telos`
        logger.warn(f"tasks of other packages have no Gymnasium id: {error}")
        return registry.TASKS


def _register(task_id: str) -> None:
    found = gymnasium.registry.get(id_of(task_id))
    if found is not None and found.kwargs.get("task") == task_id:
        return
    if found is not None:
        logger.warn(f"task {task_id!r} has no Gymnasium id: {found.id} is taken")
        return
    # Gymnasium's TimeLimit ends episodes where the limit is known here. Otherwise the environment does.
    limit = FACTS[task_id].frames if task_id in FACTS else None
    try:
        gymnasium.register(
            id_of(task_id), _MAKER, max_episode_steps=limit, kwargs={"task": task_id, "time_limit": limit is None}
        )
    except gymnasium.error.Error as error:
        logger.warn(f"task {task_id!r} has no Gymnasium id: {error}")
