"""The run directory, which is the interface: everything that is written on disk goes through this file.

    config.yaml            the resolved configuration; `telos run DIR/config.yaml` runs it again
    manifest.json          schema version, versions, commit, seed, digests of rules, config and task files
    episodes.jsonl         one row per finished episode (agent.row) with its checksum, as they finished
    steps/episode-0000.npz its steps; written before its row, so a row implies its steps
    video/episode-0000.mp4 where a GL library works
    memory.safetensors, summary.json, report.html: made when the run ends

Files appear whole (written aside, synced, renamed); a row is appended in one write and synced. A last line
without its end is what a kill leaves behind: it is dropped, and its episode runs again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from agent import build, seeds
from agent.config import Config
from agent.load import load
from agent.row import Row, Steps, to_json
from envs import registry, yaml_file
from envs.errors import TelosError
from envs.guardrails.ruleset import Guardrails

SCHEMA = 4
_ALLOWED = {
    errno.ENOSPC: "free space on the disk, then try again",
    errno.EDQUOT: "room in the disk quota, then try again",
    errno.EFBIG: "a larger limit on file sizes (ulimit -f), then try again",
    errno.EROFS: "a file system that can be written",
    errno.EACCES: "a place that this user may write and read",
    errno.EEXIST: "a path whose parents are directories",
    errno.ENOTDIR: "a path whose parents are directories",
    errno.EPERM: "a place that this user may write and read",
}


@dataclass(frozen=True)
class Manifest:
    """Where the numbers of a run come from."""

    schema: int
    task: str
    seed: int
    versions: dict[str, str]
    commit: str | None  # "+" at its end: with changes that are not committed
    config_sha256: str  # of what config.yaml says, however it is written
    files_sha256: dict[str, str]  # of a task file and its model, by name; empty for a built-in task
    guardrails_sha256: str
    rules_sha256: str  # of guardrails, back-up, and the physics that the gate tries them in
    privileged: bool  # whether the agent reads the simulator's state
    safe_stop: bool  # whether a back-up is declared, so that plans are checked for a safe stop
    assurance: str  # "L2": an independent monitor with its own copy of the rules
    created: str  # UTC, ISO 8601


def refusal(where: object, error: OSError) -> TelosError:
    """What the system refused, as a message a user can act on."""
    what = error.strerror or type(error).__name__
    return TelosError(str(error.filename or where), what.lower(), _ALLOWED.get(error.errno or 0, "a path that works"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a full or read-only disk raises into TelosError."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        raise refusal(path, error) from None
    except SafetensorError as error:  # its own kind, whatever the system said
        raise TelosError(str(path), f"a failed write ({error})", "space to write") from None


def write(path: Path, data: bytes) -> None:
    """A whole file or none: written aside, synced, renamed."""
    scratch = path.with_name(f".{path.name}.part")
    with writing(path):
        try:
            with scratch.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


class RunDir:
    """One run directory. Make one with `create`, or open what is there with `open`."""

    def __init__(self, path: Path, config: Config, manifest: Manifest) -> None:
        self.path = path
        self.config = config
        self.manifest = manifest

    @classmethod
    def create(cls, path: Path, config: Config, manifest: Manifest) -> RunDir:
        """A new run directory, which appears with config and manifest in it or not at all."""
        scratch = path.with_name(f".{path.name}.part-{os.getpid()}")
        with writing(path):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                scratch.mkdir()
                (scratch / "steps").mkdir()
                write(scratch / "config.yaml", to_yaml(config).encode())
                write(scratch / "manifest.json", (to_json(asdict(manifest), 2) + "\n").encode())
                write(scratch / "episodes.jsonl", b"")
                scratch.rename(path)  # over nothing, or over an empty directory
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return cls(path, config, manifest)

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """An existing run directory.

        Raises:
            TelosError: it is none, or config or manifest are damaged.
        """
        if not path.is_dir():
            raise TelosError(str(path), "a file" if path.exists() else "no such directory", "a run directory")
        file = path / "manifest.json"
        if not is_run(path):
            raise TelosError(str(path), "a directory without manifest.json", "a run directory of `telos run`")
        data = _json(file)
        names = [field.name for field in fields(Manifest)]
        if data.get("schema") != SCHEMA:
            raise TelosError(f"{file}: schema", repr(data.get("schema")), f"{SCHEMA}, which this telos reads")
        if sorted(data) != sorted(names):
            raise TelosError(str(file), f"the keys {', '.join(data)}", names)
        for name, kind in get_type_hints(Manifest).items():
            value, plain = data[name], getattr(kind, "__origin__", kind)
            if not isinstance(value, plain) or (plain is dict and not all(isinstance(x, str) for x in value.values())):
                raise TelosError(f"{file}: {name}", repr(value), "what `telos run` wrote")
        return cls(path, load(str(path / "config.yaml")), Manifest(**data))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing here. Raises TelosError where one does already."""
        with writing(self.path):
            descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise TelosError(str(self.path), "a run that is still going", "waiting until it ends") from None
            yield
        finally:
            os.close(descriptor)

    def rules(self) -> Guardrails:
        """The guardrails that this run was under.

        Raises:
            TelosError: config.yaml, or the task's file, says others now.
        """
        found, then = build.guardrails(self.config), self.manifest.guardrails_sha256
        if found.digest != then:
            given = f"other guardrails (digest {found.digest[:12]}…, not {then[:12]}…)"
            raise TelosError(str(self.path / "config.yaml"), given, "those that the run was under; restore them")
        return found

    def rows(self) -> tuple[Row, ...]:
        """All finished episodes by index, in whatever order they finished; a torn last line is not one.

        Raises:
            TelosError: garbage anywhere else, an episode twice, or one of another run or other rules.
        """
        file = self.path / "episodes.jsonl"
        found: dict[int, Row] = {}
        rules = self.rules().names
        for number, line in enumerate(self._lines()[0], 1):
            row, where = Row.parse(line, f"{file}:{number}"), f"{file}:{number}"
            inside = 0 <= row.episode < self.config.total
            if not inside or row.seed != self.config.place(row.episode)[0]:
                given = f"episode {row.episode} of seed {row.seed}"
                raise TelosError(where, given, f"episodes 0 to {self.config.total - 1} of {seeds.title(self.config)}")
            if row.episode in found:
                raise TelosError(where, f"episode {row.episode} a second time", "each episode once")
            if row.guardrails_sha256 != self.manifest.guardrails_sha256:
                raise TelosError(where, "another guardrail digest", self.manifest.guardrails_sha256)
            if row.rules_sha256 != self.manifest.rules_sha256:
                raise TelosError(where, "another digest of the rules", self.manifest.rules_sha256)
            if tuple(row.min_margin) != rules:
                raise TelosError(f"{where}: min_margin", ", ".join(row.min_margin) or "none", rules)
            found[row.episode] = row
        return tuple(found[index] for index in sorted(found))

    @property
    def torn(self) -> int:
        """Bytes of episodes.jsonl after its last whole line: what a writer had no time to end, or garbage."""
        return len(self._lines()[1])

    def repair(self) -> tuple[str, ...]:
        """Take out what cannot be read, so that its episodes run again; say what it was.

        That is a torn last line, lines that are no rows, an episode's second row, and rows whose steps are missing
        or damaged. The file as it was is kept beside it, except where only a torn line was lost.
        """
        file = self.path / "episodes.jsonl"
        lines, torn = self._lines()
        kept: dict[int, bytes] = {}
        lost: list[str] = []
        for number, line in enumerate(lines, 1):
            try:
                row = Row.parse(line, f"line {number}")
                if row.episode in kept:
                    lost.append(f"line {number} (episode {row.episode} a second time)")
                    continue
                self.steps(row.episode)
            except TelosError as error:
                lost.append(f"line {number} ({error.where}: {error.given})")
            else:
                kept[row.episode] = line
        notices = []
        if torn:
            notices.append(f"dropped a torn last line ({len(torn)} bytes) of episodes.jsonl; its episode runs again")
        if lost:
            copy = self.path / f"damaged-{len(list(self.path.glob('damaged-*.jsonl')))}.jsonl"
            write(copy, b"".join(line + b"\n" for line in lines) + torn)
            notices.append(
                f"set aside {len(lost)} damaged row(s) of episodes.jsonl, whose episodes run again: "
                f"{'; '.join(lost[:3])}{' …' if len(lost) > 3 else ''}; the file as it was: {copy.name}"
            )
        if torn or lost:
            write(file, b"".join(line + b"\n" for line in kept.values()))
        return tuple(notices)

    def append(self, row: Row) -> None:
        """Add one row: on disk as a whole when this returns, and not at all when it raises."""
        file = self.path / "episodes.jsonl"
        with writing(file):
            descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            size = os.fstat(descriptor).st_size
            data = row.line().encode()
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
            finally:
                os.close(descriptor)

    def save_steps(self, episode: int, steps: Steps) -> None:
        """Write the steps of one episode, before its row."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{field.name: getattr(steps, field.name) for field in fields(steps)})
        with writing(self.path):
            (self.path / "steps").mkdir(exist_ok=True)
        write(self.steps_file(episode), buffer.getvalue())

    def steps(self, episode: int) -> Steps:
        """The steps of one finished episode.

        Raises:
            TelosError: the file is missing or damaged.
        """
        file = self.steps_file(episode)
        try:
            with np.load(file, allow_pickle=False) as arrays:
                steps = Steps(**{field.name: arrays[field.name] for field in fields(Steps)})
            steps.check()
            return steps
        except OSError as error:
            raise refusal(file, error) from None
        except Exception as error:  # zip, zlib and numpy each have their own for a flipped bit
            raise TelosError(str(file), f"an unreadable file ({error})", "what `telos run` wrote") from None

    def steps_file(self, episode: int) -> Path:
        return self.path / "steps" / f"episode-{episode:04d}.npz"

    def video_file(self, episode: int) -> Path:
        return self.path / "video" / f"episode-{episode:04d}.mp4"

    def summary(self) -> dict[str, Any]:
        """What summary.json says. Raises TelosError where it is missing or damaged."""
        return _json(self.path / "summary.json")

    def _lines(self) -> tuple[list[bytes], bytes]:
        """The whole lines of episodes.jsonl, and what follows the last of them."""
        file = self.path / "episodes.jsonl"
        try:
            *lines, torn = file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return [], b""
        except OSError as error:
            raise refusal(file, error) from None
        return lines, torn


def is_run(path: Path) -> bool:
    """Whether a run directory stands here."""
    return (path / "manifest.json").is_file()


def config_sha256(config: Config) -> str:
    """The digest of a resolved configuration; remarks and the order of keys in its file do not matter."""
    values = config.model_dump(mode="json")
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def files_sha256(task: str) -> dict[str, str]:
    """The digests of a task file, of the MJCF file it names, and of what that one includes and loads.

    Raises:
        TelosError: a file is missing or wrong.
    """
    if not registry.is_file(task):
        return {}
    from envs import mjcf

    found = mjcf.files(task)
    folder = found[0].parent
    try:
        return {os.path.relpath(path, folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
    except OSError as error:
        raise refusal(Path(task), error) from None


def to_yaml(config: Config) -> str:
    """The configuration as YAML that loads to the same one."""
    return yaml_file.dump(config.model_dump(mode="json"))


def _json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise refusal(file, error) from None
    except (ValueError, RecursionError):
        raise TelosError(str(file), "not JSON", "the file as `telos run` wrote it") from None
    if not isinstance(data, dict):
        raise TelosError(str(file), f"a {type(data).__name__}", "the file as `telos run` wrote it")
    return data
