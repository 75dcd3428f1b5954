"""Kills and interrupts of a driver, or of its own local Ray, as in a user's terminal.

Such a Ray is reachable only from this machine and by this user, and leaves no files behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.systems import faults

pytestmark = pytest.mark.xdist_group("ray")
PATIENCE = 120.0  # s
LISTENING = "0A"  # a state in /proc/net/tcp
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}  # v4, mapped, v6


class Terminal:
    """`telos run` in its own process group, like in a terminal; the constructor waits for its first episode."""

    def __init__(self, undisturbed: Any, folder: Path, temporary: Path) -> None:
        self.out, self.temporary = folder / "run", temporary
        self.token = f"{folder}"
        command = [sys.executable, "-m", "agent.command.cli", "run", str(undisturbed.file), "--workers", "1"]
        env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.process = subprocess.Popen(
            [*command, "--out", str(self.out)],
            env={**env, faults.TOKEN: self.token, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.wait(lambda: self.rows() > 0 or self.process.poll() is not None)

    def rows(self) -> int:
        """The number of episodes on disk."""
        file = self.out / "episodes.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def living(self) -> dict[int, str]:
        """Its live processes: pid -> kind."""
        return faults.living(self.token)

    def files(self) -> list[str]:
        """The names of Ray's folders."""
        return [path.name for path in self.temporary.glob("*ray*")]

    def ended(self) -> tuple[int, str]:
        """Wait for its end; returns exit status and output."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until `done()` holds, at most PATIENCE seconds."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, self.living()
            time.sleep(0.05)


@pytest.fixture(scope="module")
def terminals() -> Iterator[list[Terminal]]:
    """All opened terminals; at the end none of their processes may live (Ray's own agents take a minute to exit)."""
    made: list[Terminal] = []
    yield made
    for terminal in made:
        terminal.wait(lambda terminal=terminal: not terminal.living())


@pytest.fixture
def terminal(undisturbed: Any, tmp_path: Path, terminals: list[Terminal]) -> Iterator[Terminal]:
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:  # sockets have short paths
        terminals.append(Terminal(undisturbed, tmp_path, Path(folder)))
        yield terminals[-1]
        with suppress(ProcessLookupError):
            os.killpg(terminals[-1].process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["driver", "supervisor", "head (GCS)", "node (raylet)"])
def test_sigkill(terminal: Terminal, telos: Callable[..., Any], undisturbed: Any, victim: str) -> None:
    living = terminal.living()
    ours = living.pop(terminal.process.pid)
    (driver,) = (pid for pid, kind in living.items() if kind == ours)
    known = {"supervisor": terminal.process.pid, "driver": driver} | {kind: pid for pid, kind in living.items()}
    os.kill(known[victim], signal.SIGKILL)
    status, said = terminal.ended()
    if victim == "supervisor":
        assert status == -signal.SIGKILL
    else:
        assert status == 2, said
        assert "driving process" in said or f"its {victim.split()[0]} process" in said
        assert "SIGKILL" in said or victim != "driver"
        assert "telos resume" in said
        assert "Traceback" not in said
        assert not terminal.living(), "the supervisor has cleared up"
        assert terminal.files() == []
    finished = terminal.rows()
    assert finished > 0
    assert telos("resume", terminal.out).status == 0
    assert undisturbed.equals(terminal.out)


def listening(processes: Iterable[int]) -> list[str]:
    """The addresses, in hexadecimal, on which these processes accept connections."""
    sockets: set[str] = set()
    for process in processes:
        with suppress(OSError):
            sockets |= {os.readlink(descriptor) for descriptor in Path(f"/proc/{process}/fd").iterdir()}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in (Path("/proc/net") / name).read_text().splitlines()[1:]
    ]
    return [line[1].split(":")[0] for line in lines if line[3] == LISTENING and f"socket:[{line[9]}]" in sockets]


def check_the_token(node: int) -> None:
    """Assert that a client with the token can join this node's cluster, and that one without it is kept waiting."""
    words = Path(f"/proc/{node}/cmdline").read_bytes().decode().split("\0")
    address = next(word.partition("=")[2] for word in words if word.startswith("--gcs-address="))
    its = dict(pair.split("=", 1) for pair in Path(f"/proc/{node}/environ").read_bytes().decode().split("\0") if pair)
    stranger = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    stranger |= {name: value for name, value in its.items() if name.startswith("RAY_ENABLE")}
    token = {name: its[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    command = [sys.executable, "-c", "import ray, sys; ray.init(sys.argv[1]); print('in')", address]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    without = subprocess.Popen(command, env=stranger, **pipes)
    try:
        known = subprocess.run(command, env=stranger | token, timeout=PATIENCE, check=False, **pipes)
        assert known.stdout.strip() == "in", known.stderr
        with suppress(subprocess.TimeoutExpired):
            without.wait(timeout=5)
    finally:
        without.kill()
        said, _ = without.communicate()
    assert "in" not in said.split()


TWICE = """
import pathlib, tempfile
from agent.rollouts.ray import RayRollouts
for _ in range(2):
    rollouts = RayRollouts(1, 1)
    print(rollouts.workers)
    rollouts.close()
print([path.name for path in pathlib.Path(tempfile.gettempdir()).glob("*ray*")])
"""


@pytest.mark.slow
def test_one_process_may_start_one_cluster_after_the_other() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        done = subprocess.run(
            [sys.executable, "-c", TWICE], env={**env, "TMPDIR": folder}, capture_output=True, text=True, check=False
        )
    assert done.stdout.split() == ["1", "1", "[]"], done.stderr


@pytest.mark.slow
def test_ctrl_c(terminal: Terminal, telos: Callable[..., Any], undisturbed: Any) -> None:
    """Ctrl-C reaches all processes of the group, also Ray's; no other user can connect before, and no files remain."""
    living = terminal.living()
    pids = {kind: pid for pid, kind in living.items()}
    os.kill(pids["worker"], signal.SIGSTOP)  # so that the run does not end during the checks
    addresses = listening(living)
    assert len(addresses) >= 3, "its head, its node, its worker"
    assert set(addresses) <= LOOPBACK
    assert len(terminal.files()) == 1
    check_the_token(pids["node (raylet)"])
    os.kill(pids["worker"], signal.SIGCONT)
    running = terminal.rows()
    os.killpg(terminal.process.pid, signal.SIGINT)
    check_the_end(terminal, telos, undisturbed)
    assert terminal.rows() > running, "what was running was finished"


@pytest.mark.slow
def test_ctrl_c_twice(terminal: Terminal, telos: Callable[..., Any], undisturbed: Any) -> None:
    for _ in range(2):
        os.killpg(terminal.process.pid, signal.SIGINT)
        time.sleep(0.2)
    check_the_end(terminal, telos, undisturbed)


def check_the_end(terminal: Terminal, telos: Callable[..., Any], undisturbed: Any) -> None:
    """Assert that the run says how to resume it, has cleaned up, and can be resumed."""
    status, said = terminal.ended()
    assert status == 130, said
    assert "Ctrl-C again" in said
    assert f"telos resume {terminal.out}" in said
    assert "Traceback" not in said
    assert terminal.files() == []
    assert telos("resume", terminal.out).status == 0
    assert undisturbed.equals(terminal.out)
