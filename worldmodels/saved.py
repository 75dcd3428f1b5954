"""The world model of a checkpoint, by the name `checkpoint` in the registry."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from envs.errors import TelosError
from envs.requests import Request
from envs.task import Interface, Task
from worldmodels.checkpoint import Checkpoint
from worldmodels.jepa.saved import model_of
from worldmodels.model import WorldModel


def saved(
    task: Task, interface: Interface, requests: Iterable[Request], threads: int | None = None, *, file: str
) -> WorldModel:
    """The model that was trained for this task.

    Args:
        file: a checkpoint, or the directory of a training run.

    Raises:
        TelosError: the file is no checkpoint, or was trained on another task, or on other actions or control steps.
    """
    checkpoint = Checkpoint.read(Path(file))
    header = checkpoint.header
    if _named(header.task) != _named(task.id):
        raise TelosError(f"checkpoint {file}: task", repr(header.task), f"{task.id}, as the run's task has it")
    ours = {"action_size": interface.action_size, "control_period": interface.control_period}
    for name, value in ours.items():
        if getattr(header, name) != value:
            allowed = f"{value}, as the run's task has it"
            raise TelosError(f"checkpoint {file}: {name}", repr(getattr(header, name)), allowed)
    made = model_of(checkpoint)
    made.sha256 = checkpoint.sha256
    return made


def _named(task: str) -> str:
    """A task's id, or the name of a task file, which lies elsewhere on another machine."""
    return Path(task).name if task.endswith((".yaml", ".yml")) else task
