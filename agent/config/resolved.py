"""What follows from a configuration: guardrails, back-up, planned variants, digest of the rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.config.config import Config
from envs import registry
from envs.backup import BackUp, strengthened
from envs.guardrails.registry import build_over
from envs.guardrails.ruleset import Guardrails
from envs.physics.variants import Variant
from envs.task import Task


@dataclass(frozen=True, eq=False)
class Resolved:
    """A configuration, and what follows from it and from its task's files; made once and passed along."""

    config: Config
    task: Task
    guardrails: Guardrails


def resolve(config: Config) -> Resolved:
    """Load the task of a configuration, and build the rules.

    Raises:
        TelosError: an unknown task, a wrong task file, or a guardrail that is not well formed.
        GuardrailWeakened: the config would weaken a guardrail that the task's file declares.
    """
    task = registry.load(config.task)
    return Resolved(config, task, rules_over(config, task.guardrails()))


def guardrails(config: Config) -> Guardrails:
    """The guardrails of a run, for readers that need nothing else of its task: the model is not opened.

    Raises:
        TelosError: a guardrail is not well formed, or two have the same name.
        GuardrailWeakened: the config would weaken a guardrail of the task file.
    """
    if not registry.is_file(config.task):
        return rules_over(config, ())
    from envs.mjcf import task as mjcf

    return rules_over(config, mjcf.parse(config.task).guardrails)


def rules_over(config: Config, declared: Sequence[Mapping[str, Any]]) -> Guardrails:
    """The guardrails of the config, over those that the task's file declares. Raises as `guardrails` does."""
    return build_over(declared, config.guardrails)


def back_up(config: Config, task: Task) -> BackUp | None:
    """The back-up of this run: the config's where it has one, else the task's.

    Raises:
        GuardrailWeakened: the config's back-up is less strict than the task's.
    """
    declared = None if config.back_up is None else config.back_up.back_up
    return strengthened(task.back_up, declared)


def rules_sha256(guardrails_sha256: str, back_up: BackUp | None, variants: Sequence[Variant] = ()) -> str:
    """SHA-256 of the rules that an agent must obey.

    The rules are the guardrails, the back-up that must be able to stop the agent, and the variants of the nominal
    physics in which the gate tries both.
    """
    stop = None if back_up is None else back_up.canonical()
    worlds = [{name: float(value) for name, value in asdict(variant).items()} for variant in variants]
    canonical = json.dumps([guardrails_sha256, stop, *worlds], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def planned_for(config: Config) -> list[Variant]:
    """The variants of the nominal physics in which a plan must work too."""
    return [Variant(**variant.model_dump()) for variant in config.world_model.variants]
