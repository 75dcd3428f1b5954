"""The virtual environment of each peer, and the process of each side of a comparison."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.harness import rows
from envs.errors import TelosError

VENVS = rows.HERE / "venvs"
CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True)
class Peer:
    """Another planning library at a pinned version."""

    name: str  # of its folder
    installs: tuple[tuple[str, ...], ...]  # requirements of each call of pip, in order; the last is the peer itself

    @property
    def release(self) -> str:
        """Name and version, as in the rows."""
        return self.installs[-1][-1].replace("==", " ")


def environment(peer: Peer, folder: Path = VENVS) -> Path:
    """The Python of the peer's virtual environment, which is made first if it is missing or incomplete.

    Raises:
        TelosError: pip or venv fails, most often because there is no network.
    """
    home = folder.absolute() / peer.name
    python, mark = home / "bin" / "python", home / "installed.json"
    wanted = json.dumps(peer.installs)
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return python
    _say(f"making {folder / peer.name} (once)")
    if not python.exists():
        _call(peer, [sys.executable, "-m", "venv", str(home)])
    for install in peer.installs:
        _say(f"pip install {' '.join(install)}: a few minutes")
        _call(peer, [str(python), "-m", "pip", "install", "--quiet", *install])
    mark.write_text(wanted, encoding="utf-8")
    return python


def _say(text: str) -> None:
    print(f"telos: {text}", file=sys.stderr, flush=True)


def _call(peer: Peer, command: Sequence[str]) -> None:
    done = subprocess.run(command, env=_clean(), capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if "ERROR" in line] or said or [f"exit status {done.returncode}"]
        given = f"{' '.join(command[1:])!r}, which fails: {errors[-1]}"
        raise TelosError(f"peer {peer.name}", given, "a package index that offers it (once)")


def _clean() -> dict[str, str]:
    """The environment without the variables that would make a peer's Python import our packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


class Process:
    """The process of one side, which answers one question at a time."""

    def __init__(self, name: str, command: Sequence[str], settings: Path) -> None:
        """
        Args:
            name: of the side, for error messages.
            command: Python, the script or module that it runs, and the module that makes the side.
            settings: a JSON file.

        Raises:
            TelosError: the process ended before it was ready.
        """
        self.name = name
        self._errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [*command, str(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_clean(),
            text=True,
        )
        try:
            self.about: dict[str, Any] = self._answer()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def ask(self, **question: Any) -> Any:
        """The side's answer. Raises TelosError if its process ended instead."""
        assert self._process.stdin is not None
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            self._process.wait()  # `_answer` reports why it ended
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._errors.seek(0)
            said = [text.strip() for text in self._errors.read().splitlines() if text.strip()]
            given = f"a process that ended with status {status}: {said[-1] if said else 'it said nothing'}"
            raise TelosError(f"peer {self.name}", given, "one that answers")
        return json.loads(line)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()  # it needs no clean-up
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(BrokenPipeError):  # from a question that was never read
                    stream.close()


def ours(module: str) -> list[str]:
    """The command that runs telos's side."""
    return [sys.executable, "-m", "benchmarks.peers.child", module]


def theirs(python: Path, module: str) -> list[str]:
    """The command that runs a peer's side; its module is in the folder of `child.py`."""
    return [str(python), str(CHILD), module]
