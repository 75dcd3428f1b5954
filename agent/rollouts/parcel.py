"""A configuration packed for a worker, with the files of its task and with rules that are protected by digests."""

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

from agent.config.config import CheckpointConfig, Config
from agent.config.resolved import Resolved, guardrails, resolve
from envs import registry
from envs.errors import GuardrailTampered, TelosError
from envs.files import contents
from envs.guardrails.ruleset import Guardrails
from envs.mjcf import task as mjcf


@dataclass(frozen=True)
class Parcel:
    """What a worker needs to run episodes of a configuration on any machine.

    The guardrails verify their digest when they are unpickled. `opened` also compares the parcel with a digest that
    was sent separately, and the guardrails with those that the worker builds from the configuration.
    """

    config: Config
    files: Mapping[str, bytes]
    """The files of a user's own task, and the checkpoint of a trained model: absolute path -> content."""
    guardrails: Guardrails

    @cached_property
    def sha256(self) -> str:
        """Digest of configuration, files and rules: equal digests mean equal episodes."""
        digest = hashlib.sha256(self.config.model_dump_json().encode())
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        digest.update(self.guardrails.digest.encode())
        return digest.hexdigest()


def sealed(config: Config) -> Parcel:
    """Pack a configuration into a parcel.

    Raises:
        TelosError: the configuration's rules, its task's files or its checkpoint are wrong.
    """
    return Parcel(config, files_of(config.task) | checkpoint_of(config), guardrails(config))


def opened(parcel: Parcel, sha256: str) -> Resolved:
    """Unpack a parcel into a configuration that works on this machine.

    If a file is missing here or differs, all of them are written to a private folder.

    Args:
        sha256: the parcel's digest as the sender stated it, sent separately from the parcel.

    Raises:
        GuardrailTampered: the parcel is not the one that was sent, or its rules are not those of its configuration.
        TelosError: the private folder cannot be used.
    """
    if parcel.sha256 != sha256:
        raise GuardrailTampered("parcel", f"one with digest {parcel.sha256}", sha256)
    config = parcel.config
    if any(not _is_here(Path(name), content) for name, content in parcel.files.items()):
        config = _moved(config, _laid_down(parcel))
    found = resolve(config)
    Guardrails.verify(parcel.guardrails, found.guardrails.digest)
    return found


def files_of(task: str) -> dict[str, bytes]:
    """A task file, its model, and all files that the model includes or loads, by absolute path.

    Empty for a built-in task.

    Raises:
        TelosError: a file is missing or wrong.
    """
    if not registry.is_file(task):
        return {}
    mjcf.load(task)  # raises if the task is wrong
    return {str(path): path.read_bytes() for path in mjcf.files(task)}


def checkpoint_of(config: Config) -> dict[str, bytes]:
    """The file of a trained world model, by absolute path; empty for any other.

    Raises:
        TelosError: the file is missing.
    """
    if not isinstance(config.world_model, CheckpointConfig):
        return {}
    path = Path(config.world_model.file).resolve()
    return {str(path): contents(path)}


def _moved(config: Config, root: Path) -> Config:
    """The configuration with its files below `root`."""

    def there(file: str) -> str:
        return str(root / Path(file).resolve().relative_to("/"))

    update: dict[str, object] = {"task": there(config.task)} if registry.is_file(config.task) else {}
    if isinstance(config.world_model, CheckpointConfig):
        update["world_model"] = CheckpointConfig(file=there(config.world_model.file))
    return config.model_copy(update=update)


def _is_here(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _private() -> Path:
    """A folder that only this user can access. Raises TelosError if its path holds anything else."""
    path = Path(tempfile.gettempdir()) / f"telos-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise TelosError(str(path), "not a folder of this user alone", "one with mode 700, or another TMPDIR")
    return path


def _laid_down(parcel: Parcel) -> Path:
    """Write the files to a private folder, one per parcel, and return it."""
    root = _private() / parcel.sha256[:16]
    for name, content in parcel.files.items():
        path = root / Path(name).relative_to("/")
        if not _is_here(path, content):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, scratch = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(scratch).replace(path)
    return root
