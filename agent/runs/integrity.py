"""Checks whether the files of a run directory are as the run wrote them, by comparing them with each other.

    row.run_sha256     = digest of manifest.json      = manifest.sha256, which the file also contains
    manifest.*_sha256  = digests of config.yaml, of the task's files, and of the rules that follow from both
    row.steps_sha256   = digest of the arrays in steps/episode-N.npz, which also holds the text of the row

These digests reveal a change to any one of these files, and an exchange of files between runs or episodes. Values that
can be derived are also derived again and compared: the manifest from the configuration, a row from its steps,
violations from margins. summary.json, memory.safetensors and report.html are made from these files and never serve as
evidence.

The digests have no key: anyone who can write to the directory can forge a run by computing all digests anew. To detect
that, keep the run's `fingerprint`, which the report shows, in another place.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.config import resolved
from agent.rollouts.episode import seeds_of
from agent.rollouts.row import Row, Steps, follows
from agent.runs.manifest import CHECKPOINT, OLDER, WRITTEN, files_sha256, following
from agent.runs.rundir import BEGAN, RunDir
from envs.errors import TelosError
from envs.files import contents
from envs.guardrails.ruleset import Guardrails

ROUNDING = 1e-9  # relative and absolute tolerance; other versions may round sums and percentiles differently


def rules_of(rundir: RunDir) -> Guardrails:
    """The run's guardrails, after checking the manifest against the configuration and the task's files.

    For a run of schema 4, only the task's files and the guardrails are compared.

    Raises:
        TelosError: the files do not fit each other; the message names the file.
    """
    then, file = rundir.manifest, rundir.path / "manifest.json"
    changed = changed_files(rundir)
    if changed:
        raise TelosError(str(rundir.path), f"a run of another {' and '.join(changed)} than today's", BEGAN)
    rules = resolved.guardrails(rundir.config)
    if not then.verifiable:
        if rules.digest != then.guardrails_sha256:
            raise TelosError(str(file), "other guardrails than config.yaml has", WRITTEN)
        return rules
    # `RunDir.open` has compared the digest of config.yaml. It is left out here, because today's configuration may have
    # more fields, with defaults.
    now = {name: value for name, value in following(rundir.config).items() if name != "config_sha256"}
    differing = [name for name, value in now.items() if getattr(then, name) != value]
    if differing:
        given = f"{', '.join(differing)} other than config.yaml has it under today's telos"
        raise TelosError(str(file), given, f"{WRITTEN}, and the version that wrote it ({then.versions.get('telos')})")
    return rules


def changed_files(rundir: RunDir) -> tuple[str, ...]:
    """The names of the files of a user's own task, and of a checkpoint, that are missing or have changed."""
    config, then = rundir.config, rundir.manifest.files_sha256

    def place(name: str) -> Path:
        return Path(getattr(config.world_model, "file", "")) if name == CHECKPOINT else Path(config.task).parent / name

    found = tuple(name for name, digest in then.items() if _digest(place(name)) != digest)
    return found or (() if files_sha256(config) == then else (Path(config.task).name,))


def episodes(rundir: RunDir, rules: Guardrails | None) -> Iterator[tuple[Row, Steps]]:
    """Yield the finished episodes in order of their index, each with its steps; each is checked before it is yielded.

    Args:
        rules: the run's guardrails; None if they are not known, so that margins cannot be judged again.

    Raises:
        TelosError: a row and its steps do not fit each other or the run; the message names the file.
    """
    for row in rundir.rows():
        yield row, checked(rundir, row, rules)


def checked(rundir: RunDir, row: Row, rules: Guardrails | None) -> Steps:
    """The steps of a row, after checking both against each other and the run. Raises TelosError as `episodes` does."""
    steps, text = rundir.recorded(row.episode)
    file = str(rundir.steps_file(row.episode))
    if steps.margin.shape[1] != len(row.min_margin) or (rules is not None and tuple(row.min_margin) != rules.names):
        given = f"margins of {', '.join(row.min_margin) or 'nothing'} in the row, {steps.margin.shape[1]} in its steps"
        raise TelosError(f"{rundir.rows_file}: episode {row.episode}: min_margin", given, _names_of(rules))
    if not rundir.manifest.verifiable:
        return steps
    if text != row.text():
        given = "steps that were written with another row than episodes.jsonl has"
        raise TelosError(file, given, "both files as `telos run` wrote them")
    if steps.sha256 != row.steps_sha256:
        raise TelosError(file, "other steps than those that its row was made from", WRITTEN)
    _check_values(f"{rundir.rows_file}: episode {row.episode}", row, _expected(rundir, row, steps))
    if rules is not None:
        broken = rules.violated(torch.from_numpy(steps.margin)).any(1).numpy()
        if not np.array_equal(broken, steps.violated):
            raise TelosError(f"{file}: violated", "steps that their margins judge otherwise", WRITTEN)
    return steps


def insist_verifiable(rundir: RunDir, purpose: str) -> None:
    """Raise TelosError for a run of an older schema, whose files cannot be checked against each other."""
    if not rundir.manifest.verifiable:
        given = f"{OLDER}, whose rows and steps cannot be verified"
        raise TelosError(f"{rundir.path / 'manifest.json'}: schema", given, f"a newer run to be {purpose}")


def fingerprint(rundir: RunDir, rows: Sequence[Row]) -> str:
    """One digest of a whole run; it does not depend on the order in which its episodes finished."""
    text = "\n".join([rundir.manifest.sha256, *(row.text() for row in sorted(rows, key=lambda row: row.episode))])
    return hashlib.sha256(text.encode()).hexdigest()


def _expected(rundir: RunDir, row: Row, steps: Steps) -> dict[str, Any]:
    """The fields of a row that follow from the configuration, the manifest, and the row's steps."""
    config = rundir.config
    seeds = seeds_of(*config.place(row.episode))
    rejected = row.resets_rejected
    return {
        "task": config.task,
        "planner": config.planner.kind,
        "world_model": config.world_model.kind,
        "privileged": rundir.manifest.privileged,
        "goal": "" if config.goal is None else config.goal.goal.text(),
        "reset_seed": seeds[rejected] if 0 <= rejected < len(seeds) - 1 else None,
        **follows(steps, tuple(row.min_margin)),
    }


def _check_values(where: str, row: Row, expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        if not _same(getattr(row, name), value):
            given = f"{getattr(row, name)!r}, which does not follow from its steps and the configuration"
            raise TelosError(f"{where}: {name.rstrip('_')}", given, repr(value))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return a == b


def _digest(file: Path) -> str:
    """The digest of a file's bytes; "" if it cannot be read."""
    try:
        return hashlib.sha256(contents(file)).hexdigest()
    except TelosError:
        return ""


def _names_of(rules: Guardrails | None) -> str:
    return "one for each guardrail" if rules is None else ", ".join(rules.names) or "none"
