"""A configuration that travels: with the files that its task needs, and with its rules under seal."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from agent.config import resolved
from agent.config.config import Config
from envs import registry
from envs.errors import GuardrailTampered, TelosError
from envs.guardrails.ruleset import Guardrails
from envs.mjcf import task as mjcf


@dataclass(frozen=True)
class Parcel:
    """What a worker needs to run episodes of a configuration anywhere.

    The guardrails verify themselves when they are unpickled. `opened` compares them with those that the
    configuration builds where it arrived, and both with digests that came another way.
    """

    config: Config
    files: Mapping[str, bytes]
    """Of a user's own task: absolute path -> content, the task file first; empty for a built-in one."""
    guardrails: Guardrails

    @cached_property
    def sha256(self) -> str:
        """Of configuration, files and rules: equal parcels mean equal episodes."""
        digest = hashlib.sha256(self.config.model_dump_json().encode())
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        digest.update(self.guardrails.digest.encode())
        return digest.hexdigest()


def sealed(config: Config) -> Parcel:
    """Pack a configuration.

    Raises:
        TelosError: its rules or its task's files are wrong.
    """
    return Parcel(config, files_of(config.task), resolved.guardrails(config))


def opened(parcel: Parcel, sha256: str) -> Config:
    """The configuration as it can be built here; a task's files are laid down where they are not, or differ.

    Args:
        sha256: what the sender says the parcel's digest is, apart from the parcel.

    Raises:
        GuardrailTampered: the parcel is not the one that was sent, or its rules not those of its configuration.
    """
    if parcel.sha256 != sha256:
        raise GuardrailTampered("parcel", f"one with digest {parcel.sha256}", sha256)
    config = parcel.config
    if any(not _is_here(Path(name), content) for name, content in parcel.files.items()):
        config = config.model_copy(update={"task": str(_laid_down(parcel))})
    Guardrails.verify(parcel.guardrails, resolved.guardrails(config).digest)
    return config


def files_of(task: str) -> dict[str, bytes]:
    """A task file, its model, and whatever that includes or loads, by absolute path; none for a built-in task.

    Raises:
        TelosError: a file is missing or wrong.
    """
    if not registry.is_file(task):
        return {}
    mjcf.load(task)  # says what is wrong with it
    return {str(path): path.read_bytes() for path in mjcf.files(task)}


def _is_here(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _private() -> Path:
    """A folder of this user alone. Raises TelosError where somebody else has put something in its place."""
    path = Path(tempfile.gettempdir()) / f"telos-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise TelosError(str(path), "not a folder of this user alone", "one with mode 700, or another TMPDIR")
    return path


def _laid_down(parcel: Parcel) -> Path:
    """The task file among its files, in a folder of this machine that is made once per parcel."""
    root = _private() / parcel.sha256[:16]
    for name, content in parcel.files.items():
        path = root / Path(name).relative_to("/")
        if not _is_here(path, content):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, scratch = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(scratch).replace(path)
    return root / Path(next(iter(parcel.files))).relative_to("/")
