"""All tasks by id; the conformance suite tests every task of this table."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from envs.errors import TelosError
from envs.table import Entry, Table

if TYPE_CHECKING:
    from envs.environment import Environment
    from envs.physics.variants import Variant
    from envs.picture import View
    from envs.task import Task


def _suite(domain: str, *names: str) -> dict[str, str]:
    return {f"dm_control/{domain}-{name}-v0": f"envs.suite.{domain}:{name}" for name in names}


TASKS = MappingProxyType(
    {
        **_suite("acrobot", "swingup", "swingup_sparse"),
        **_suite("ball_in_cup", "catch"),
        **_suite("cartpole", "balance", "balance_sparse", "swingup", "swingup_sparse"),
        **_suite("cheetah", "run"),
        **_suite("dog", "stand", "walk", "trot", "run"),
        **_suite("finger", "spin", "turn_easy", "turn_hard"),
        **_suite("fish", "upright", "swim"),
        **_suite("hopper", "stand", "hop"),
        **_suite("humanoid", "stand", "walk", "run"),
        **_suite("manipulator", "bring_ball"),
        **_suite("pendulum", "swingup"),
        **_suite("point_mass", "easy"),
        **_suite("quadruped", "walk", "run"),
        **_suite("reacher", "easy", "hard"),
        **_suite("swimmer", "swimmer6", "swimmer15"),
        **_suite("walker", "stand", "walk", "run"),
        "Ant-v5": "envs.mujoco_v5.ant:ant",
        "HalfCheetah-v5": "envs.mujoco_v5.half_cheetah:half_cheetah",
        "Hopper-v5": "envs.mujoco_v5.hopper:hopper",
        "Humanoid-v5": "envs.mujoco_v5.humanoid:humanoid",
        "HumanoidStandup-v5": "envs.mujoco_v5.humanoid_standup:humanoid_standup",
        "InvertedDoublePendulum-v5": "envs.mujoco_v5.inverted_double_pendulum:inverted_double_pendulum",
        "InvertedPendulum-v5": "envs.mujoco_v5.inverted_pendulum:inverted_pendulum",
        "Pusher-v5": "envs.mujoco_v5.pusher:pusher",
        "Reacher-v5": "envs.mujoco_v5.reacher:reacher",
        "Swimmer-v5": "envs.mujoco_v5.swimmer:swimmer",
        "Walker2d-v5": "envs.mujoco_v5.walker2d:walker2d",
    }
)
"""Task id -> `module:function` that makes the `Task`, imported when used."""


TABLE = Table(
    "task",
    "telos.tasks",
    MappingProxyType({task_id: Entry(target) for task_id, target in TASKS.items()}),
    "telos list tasks",
)


def table() -> dict[str, str]:
    """The built-in tasks and those of entry points. Raises TelosError where a name is taken twice."""
    return {task_id: entry.target for task_id, entry in TABLE.entries().items()}


def is_file(task_id: str) -> bool:
    """Whether the id names a user's own task file (`envs.mjcf.task`)."""
    return task_id.endswith((".yaml", ".yml"))


def load(task_id: str) -> Task:
    """The task of this id, or of this YAML file for a user's own model (`envs.mjcf.task`).

    Raises:
        TelosError: unknown id, or a wrong file.
    """
    if is_file(task_id):
        from envs.mjcf import task as mjcf

        return _made_from(str(Path(task_id).absolute()), mjcf.load(task_id))
    from envs.task import Task

    made = TABLE.load(task_id)()
    if not isinstance(made, Task):
        given = f"{task_id!r}, at {table()[task_id]}, made a {type(made).__name__}"
        raise TelosError("task", given, "a function that makes an envs.task.Task")
    return _made_from(task_id, made)


def _made_from(source: str, task: Task) -> Task:
    """Record on the task how to make it again; see `Task.source`."""
    object.__setattr__(task, "source", source)
    object.__setattr__(task, "maker", _made_again)
    return task


def _made_again(task_id: str, source: str) -> Task:
    """The task of this id; it is loaded from `source` where the id is a path that now resolves to another file."""
    elsewhere = is_file(task_id) and str(Path(task_id).absolute()) != source
    return load(source if elsewhere else task_id)


def make(
    task_id: str, variant: Variant | None = None, render_mode: str | None = None, view: View | None = None
) -> Environment:
    """The environment of this id: the real dm_control or Gymnasium one, behind one interface; see `Environment`."""
    from envs.environment import Environment

    return Environment(load(task_id), variant, render_mode, view)
