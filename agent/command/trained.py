"""The configuration of a run that plans with a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.learning.traindir import TrainDir, is_training
from envs.errors import TelosError


def with_model(
    folder: Path, preset: str | None, task: str | None, overrides: Mapping[str, Any]
) -> tuple[str, str | None, dict[str, Any]]:
    """Preset, task and overrides of a run with the model of a training.

    Without a preset, the agent is that of the training's own evaluations. A preset, and any field that is given,
    replaces it.

    Raises:
        TelosError: no training there, none of whose evaluations is done, or another task is asked for.
    """
    if not is_training(folder):
        raise TelosError(f"run --model {folder}", "no training there", "a directory of `telos train`")
    recipe = TrainDir.open(folder).recipe
    if not (folder / "model.safetensors").is_file():
        allowed = "one with an evaluation, which writes the model"
        raise TelosError(f"run --model {folder}", "a training without a model yet", allowed)
    if task is not None and task != recipe.task:
        raise TelosError("run --task", task, f"{recipe.task}, which the model was trained on")
    model = {"kind": "checkpoint", "file": str((folder / "model.safetensors").resolve())}
    own: dict[str, Any] = {"world_model": model}
    if preset is None:
        asked = any(key.split(".")[0] in ("goal", "cost") for key in overrides)
        if not asked and recipe.actor_critic is None:  # a learned reward needs nothing else
            allowed = f"--goal 'SIGNAL = TARGET ± WITHIN', with a signal among {list(recipe.signals)}, or a preset"
            raise TelosError("run --model", "nothing that the agent is asked for", allowed)
        own |= _flat(recipe.agent)
        return "default", recipe.task, {**own, **overrides}  # the task's own preset is for planning in the simulator
    return preset, task, {**own, **overrides}


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested fields as dotted ones; what a planner or a budget takes stays a mapping."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{above}{name}"
        if isinstance(value, Mapping) and name not in ("params", "budget"):
            found |= _flat(value, f"{key}.")
        else:
            found[key] = value
    return found
