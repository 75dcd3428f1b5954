"""manifest.json: versions, rules and configuration of a run. Every row holds its digest, which binds rows to runs."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

from agent import provenance
from agent.config import resolved
from agent.config.config import CheckpointConfig, Config
from agent.rollouts.row import to_json
from envs import registry
from envs.errors import TelosError
from envs.files import contents

SCHEMA = 5
OLDER = 4  # can still be reported and compared; its rows have no digests of their steps
CHECKPOINT = "world_model.file"  # names it among the files of a run
WRITTEN = "the file as `telos run` wrote it"


@dataclass(frozen=True)
class Manifest:
    """The provenance of a run. The file also contains the digest of these fields, as `sha256`."""

    schema: int
    id: str  # random, to tell apart two runs of one configuration that begin in the same second
    task: str
    seed: int
    versions: dict[str, str]
    commit: str | None  # ends in "+" if there were uncommitted changes
    config_sha256: str  # of the values in config.yaml, whatever its formatting
    files_sha256: dict[str, str]  # of a task file and its model, and of a checkpoint, by name; often empty
    guardrails_sha256: str
    rules_sha256: str  # of guardrails, back-up, and the physics in which the gate tries them
    privileged: bool  # whether the agent reads the simulator's state
    safe_stop: bool  # whether a back-up is declared, so that plans are checked for a safe stop
    assurance: str  # "L2": an independent monitor with its own copy of the rules
    created: str  # UTC, ISO 8601

    @cached_property
    def sha256(self) -> str:
        """The digest that the file and every row of the run contain."""
        return digest(asdict(self))

    @property
    def verifiable(self) -> bool:
        """Whether rows, steps and configuration can be checked against each other; not in runs of older schemas."""
        return self.schema == SCHEMA

    def text(self) -> str:
        """The content of the file."""
        return to_json({**asdict(self), "sha256": self.sha256}, 2) + "\n"

    @classmethod
    def read(cls, file: Path) -> Manifest:
        """Read a manifest of the current schema or of schema 4.

        Raises:
            TelosError: the file is not a manifest, has another schema, or has changed since it was written.
        """
        data = json_of(file)
        schema = data.get("schema")
        if type(schema) is not int or schema not in (SCHEMA, OLDER):
            raise TelosError(f"{file}: schema", repr(schema), f"{SCHEMA} or {OLDER}, which this telos reads")
        if schema == OLDER:
            data = {**data, "id": "", "sha256": None}
        names = [field.name for field in fields(cls)]
        if sorted(data) != sorted([*names, "sha256"]):
            raise TelosError(str(file), f"the keys {', '.join(data)}", [*names, "sha256"])
        for name, kind in get_type_hints(cls).items():
            value, plain = data[name], getattr(kind, "__origin__", kind)
            if not isinstance(value, plain) or (plain is dict and not all(isinstance(x, str) for x in value.values())):
                raise TelosError(f"{file}: {name}", repr(value), "what `telos run` wrote")
        stated = data.pop("sha256")
        made = cls(**data)
        if schema == SCHEMA and stated != made.sha256:
            raise TelosError(str(file), "a manifest that has changed since it was written", WRITTEN)
        return made


def manifest_of(config: Config) -> Manifest:
    """The manifest of a run of this configuration that begins now. Raises TelosError as `following` does."""
    return Manifest(
        schema=SCHEMA,
        id=uuid.uuid4().hex,
        versions=provenance.versions(),
        commit=provenance.commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **following(config),
    )


def following(config: Config) -> dict[str, Any]:
    """The fields of a manifest that follow from a configuration, its task and the task's files.

    Raises:
        TelosError: the task or the rules are wrong.
    """
    rules = resolved.guardrails(config)
    back_up = resolved.back_up(config, registry.load(config.task))
    return {
        "task": config.task,
        "seed": config.place(0)[0],
        "config_sha256": config_sha256(config),
        "files_sha256": files_sha256(config),
        "guardrails_sha256": rules.digest,
        "rules_sha256": resolved.rules_sha256(rules.digest, back_up, resolved.planned_for(config)),
        "privileged": config.perception.kind == "privileged",
        "safe_stop": back_up is not None,
        "assurance": "L2",
    }


def digest(values: Any) -> str:
    """SHA-256 of plain values; the order of keys does not matter. Raises TypeError for values that JSON lacks."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def config_sha256(config: Config) -> str:
    """The digest of a resolved configuration; equal to that of the values which `agent.runs.rundir.to_yaml` writes."""
    return digest(config.model_dump(mode="json"))


def files_sha256(config: Config) -> dict[str, str]:
    """The digests of a task file, of the MJCF file that it names, of all files that the model includes or loads, and of
    the checkpoint of a trained world model.

    Raises:
        TelosError: a file is missing or wrong.
    """
    found: dict[str, Path] = {}
    if registry.is_file(config.task):
        from envs.mjcf import task as mjcf

        paths = mjcf.files(config.task)
        found = {os.path.relpath(path, paths[0].parent): path for path in paths}
    if isinstance(config.world_model, CheckpointConfig):
        found[CHECKPOINT] = Path(config.world_model.file)
    return {name: hashlib.sha256(contents(path)).hexdigest() for name, path in found.items()}


def json_of(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises TelosError if the file holds anything else."""
    try:
        data = json.loads(contents(file))
    except (ValueError, RecursionError):
        raise TelosError(str(file), "not JSON", WRITTEN) from None
    if not isinstance(data, dict):
        raise TelosError(str(file), f"a {type(data).__name__}", WRITTEN)
    return data
