"""The run directory: which files it holds, and how they are written and read.

    config.yaml            the resolved configuration; `telos run DIR/config.yaml` runs it again
    manifest.json          schema version, versions, commit, seed, digests of rules, config and task files, and its own
    episodes.jsonl         one row per finished episode (agent.rollouts.row) with its digest, in the order they finished
    steps/episode-0000.npz the steps of an episode, and the text of its row; written before the row is appended
    video/episode-0000.mp4 if a video was asked for and a GL library works
    log.jsonl, tensorboard/ if a log was asked for (agent.runs.logs); `telos resume` makes them again
    memory.safetensors, summary.json, report.html: made when the run ends; `telos resume` makes them again

Files are written atomically: to a temporary file, which is synced and renamed. A row is appended in one write and
synced. A killed process may leave an incomplete last line: it is dropped, and its episode runs again.
`agent.runs.integrity` checks the files against each other.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from agent.config.config import Config
from agent.config.load import load, parse
from agent.rollouts.row import Row, Steps
from agent.runs import schema4, seeds
from agent.runs.manifest import Manifest, digest, following, json_of
from envs import yaml_file
from envs.errors import TelosError
from envs.files import contents, locked, write, writing
from envs.validation import validated

BEGAN = "as it began; restore it, or begin another run with `telos run`"


class RunDir:
    """One run directory. Make a new one with `create`; open an existing one with `open`."""

    def __init__(self, path: Path, config: Config, manifest: Manifest) -> None:
        self.path = path
        self.config = config
        self.manifest = manifest

    @classmethod
    def create(cls, path: Path, config: Config, manifest: Manifest) -> RunDir:
        """Make a new run directory atomically, with config and manifest in it.

        Raises:
            TelosError: the file system refuses, or another process has begun a run there in the meantime.
        """
        scratch = path.with_name(f".{path.name}.part-{os.getpid()}")
        with writing(path):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                scratch.mkdir()
                (scratch / "steps").mkdir()
                write(scratch / "config.yaml", to_yaml(config).encode())
                write(scratch / "manifest.json", manifest.text().encode())
                write(scratch / "episodes.jsonl", b"")
                _rename(scratch, path)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return cls(path, config, manifest)

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """Open an existing run directory.

        Raises:
            TelosError: the path is not a run directory, config or manifest are damaged, or the configuration is not
                the one with which the run began.
        """
        if not path.is_dir():
            raise TelosError(str(path), "a file" if path.exists() else "no such directory", "a run directory")
        if not is_run(path):
            raise TelosError(str(path), "a directory without manifest.json", "a run directory of `telos run`")
        manifest = Manifest.read(path / "manifest.json")
        file = path / "config.yaml"
        said = parse(_text(file), str(file))
        if _digest(said) != manifest.config_sha256:
            raise TelosError(str(file), _changed(load(str(file)), manifest), BEGAN)
        return cls(path, validated(Config, said, str(file)), manifest)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing here. Raises TelosError if another process holds the lock."""
        with locked(self.path, "a run that is still going"):
            yield

    def rows(self) -> tuple[Row, ...]:
        """The rows of all finished episodes, sorted by index; an incomplete last line is ignored.

        Raises:
            TelosError: a complete line is not a row, an episode appears twice, or a row is of another run or has other
                rules.
        """
        found: dict[int, Row] = {}
        for number, line in enumerate(self.lines()[0], 1):
            row = self.row(line, f"{self.rows_file}:{number}")
            if row.episode in found:
                raise TelosError(f"{self.rows_file}:{number}", f"episode {row.episode} a second time", "each once")
            found[row.episode] = row
        return tuple(found[index] for index in sorted(found))

    def row(self, line: bytes, where: str) -> Row:
        """Read a line of episodes.jsonl. Raises TelosError if it is not a row, or is of another run or other rules."""
        then = self.manifest
        row = Row.parse(line, where) if then.verifiable else schema4.parse(line, where)
        if then.verifiable and row.run_sha256 != then.sha256:
            raise TelosError(where, "a row of another run, or under another manifest.json", "rows of this run")
        inside = 0 <= row.episode < self.config.total
        if not inside or row.seed != self.config.place(row.episode)[0]:
            given = f"episode {row.episode} of seed {row.seed}"
            raise TelosError(where, given, f"episodes 0 to {self.config.total - 1} of {seeds.title(self.config)}")
        if row.guardrails_sha256 != then.guardrails_sha256:
            raise TelosError(where, "another guardrail digest", then.guardrails_sha256)
        if row.rules_sha256 != then.rules_sha256:
            raise TelosError(where, "another digest of the rules", then.rules_sha256)
        return row

    @property
    def torn(self) -> int:
        """The number of bytes after the last complete line of episodes.jsonl: an unfinished write, or garbage."""
        return len(self.lines()[1])

    def lines(self) -> tuple[list[bytes], bytes]:
        """The complete lines of episodes.jsonl, and the bytes after the last of them."""
        if not os.path.lexists(self.rows_file):
            return [], b""
        *lines, torn = contents(self.rows_file).split(b"\n")
        return lines, torn

    def record(self, row: Row, steps: Steps) -> Row:
        """Save a finished episode: first its steps, then its row.

        Both are synced to disk when this returns.

        Returns:
            The row, with the digests of its steps and of the run's manifest.

        Raises:
            TelosError: the file system refuses; the row is not on disk then.
        """
        row = replace(row, steps_sha256=steps.sha256, run_sha256=self.manifest.sha256)
        self._save_steps(row, steps)
        with writing(self.rows_file):
            descriptor = os.open(self.rows_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o644)
            size = os.fstat(descriptor).st_size
            data = row.line().encode()
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.rows_file))
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
            finally:
                os.close(descriptor)
        return row

    def _save_steps(self, row: Row, steps: Steps) -> None:
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"row": np.array(row.text()), **steps.arrays()}
        np.savez_compressed(buffer, **arrays)
        with writing(self.path):
            (self.path / "steps").mkdir(exist_ok=True)
        write(self.steps_file(row.episode), buffer.getvalue())

    def steps(self, episode: int) -> Steps:
        """The steps of one finished episode. Raises TelosError if the file is missing or damaged."""
        return self.recorded(episode)[0]

    def recorded(self, episode: int) -> tuple[Steps, str]:
        """The steps of one finished episode, and the text of the row saved with them ("" in schema 4).

        Raises:
            TelosError: the file is missing or damaged.
        """
        file = self.steps_file(episode)
        data = contents(file)
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                steps = Steps.read({name: arrays[name] for name in arrays.files})
                text = str(arrays["row"]) if self.manifest.verifiable else ""
            steps.check()
            return steps, text
        except Exception as error:  # zip, zlib and numpy each raise their own types for damaged data
            raise TelosError(str(file), f"an unreadable file ({error})", "what `telos run` wrote") from None

    @property
    def rows_file(self) -> Path:
        return self.path / "episodes.jsonl"

    def steps_file(self, episode: int) -> Path:
        return self.path / "steps" / f"episode-{episode:04d}.npz"

    def video_file(self, episode: int) -> Path:
        return self.path / "video" / f"episode-{episode:04d}.mp4"

    def summary(self) -> dict[str, Any]:
        """The content of summary.json. Raises TelosError if the file is missing or damaged."""
        return json_of(self.path / "summary.json")


def is_run(path: Path) -> bool:
    """Whether the path is a run directory: whether it contains manifest.json."""
    return os.path.lexists(path / "manifest.json")


def to_yaml(config: Config) -> str:
    """The configuration as YAML that loads to an equal configuration."""
    return yaml_file.dump(config.model_dump(mode="json"))


def _rename(scratch: Path, path: Path) -> None:
    """Rename a directory to `path`. Raises TelosError if `path` is now a directory that is not empty."""
    try:
        scratch.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        given = "a run that another process began there in this moment"
        raise TelosError(str(path), given, "another --out, or `telos resume` when that run has ended") from None


def _text(file: Path) -> str:
    try:
        return contents(file).decode()
    except UnicodeDecodeError:
        raise TelosError(str(file), "a file that is not text", "the file as `telos run` wrote it") from None


def _digest(said: dict[str, Any]) -> str:
    try:
        return digest(said)
    except (TypeError, ValueError):  # YAML allows more than a configuration holds: dates, keys of several types
        return ""


def _changed(config: Config, then: Manifest) -> str:
    """Says in words in what a configuration differs from the one with which the run began."""
    now = following(config)
    if now["guardrails_sha256"] != then.guardrails_sha256:
        return f"other guardrails (digest {now['guardrails_sha256'][:12]}…, not {then.guardrails_sha256[:12]}…)"
    what = "configuration" if now["rules_sha256"] == then.rules_sha256 else "back-up or world_model.variants"
    return f"another {what} (digest {now['config_sha256'][:12]}…, not {then.config_sha256[:12]}…)"
