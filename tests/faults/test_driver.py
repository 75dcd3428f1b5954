"""A driver, or Ray itself, that is killed or interrupted, with a local Ray of its own: as on a user's terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks import faults

pytestmark = pytest.mark.xdist_group("ray")
PATIENCE = 120.0  # s


class Terminal:
    """`telos run` in a process group of its own, as a terminal has it, until it has finished one episode."""

    def __init__(self, undisturbed: Any, folder: Path) -> None:
        self.out = folder / "run"
        self.token = f"{folder}"
        command = [sys.executable, "-m", "agent.cli", "run", str(undisturbed.file), "--workers", "1"]
        self.process = subprocess.Popen(
            [*command, "--out", str(self.out)],
            env={**{k: v for k, v in os.environ.items() if not k.startswith("RAY_")}, faults.TOKEN: self.token},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.wait(lambda: self.rows() > 0 or self.process.poll() is not None)

    def rows(self) -> int:
        """Episodes on disk."""
        file = self.out / "episodes.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def living(self) -> dict[int, str]:
        """Its processes."""
        return faults.living(self.token)

    def ended(self) -> tuple[int, str]:
        """Exit status and all that it said."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said

    def wait(self, done: Callable[[], bool]) -> None:
        """Until then."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, self.living()
            time.sleep(0.05)


@pytest.fixture(scope="module")
def terminals() -> Iterator[list[Terminal]]:
    """All that were opened; at the end nothing of them lives on. (Ray's own agents take a minute to notice.)"""
    made: list[Terminal] = []
    yield made
    for terminal in made:
        terminal.wait(lambda terminal=terminal: not terminal.living())


@pytest.fixture
def terminal(undisturbed: Any, tmp_path: Path, terminals: list[Terminal]) -> Iterator[Terminal]:
    terminals.append(Terminal(undisturbed, tmp_path))
    yield terminals[-1]
    with suppress(ProcessLookupError):
        os.killpg(terminals[-1].process.pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", ["supervisor", "driver", "head (GCS)", "node (raylet)"])
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
    finished = terminal.rows()
    assert finished > 0
    assert telos("resume", terminal.out).status == 0
    assert undisturbed.equals(terminal.out)


def test_who_has_not_the_token_does_not_get_in(terminal: Terminal) -> None:
    """Another user of this machine reaches Ray on loopback, and is let in with the token alone; without, Ray keeps the
    caller waiting for minutes: at least for as long as who has it takes."""
    (node,) = (pid for pid, kind in terminal.living().items() if kind == "node (raylet)")
    words = Path(f"/proc/{node}/cmdline").read_bytes().decode().split("\0")
    address = next(word.partition("=")[2] for word in words if word.startswith("--gcs-address="))
    its = dict(pair.split("=", 1) for pair in Path(f"/proc/{node}/environ").read_bytes().decode().split("\0") if pair)
    stranger = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
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
from agent.ray_rollouts import RayRollouts
for _ in range(2):
    rollouts = RayRollouts(1, 1)
    print(rollouts.workers)
    rollouts.close()
"""


def test_one_process_may_start_one_cluster_after_the_other() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", TWICE], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "1"], done.stderr


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c(terminal: Terminal, telos: Callable[..., Any], undisturbed: Any, presses: int) -> None:
    """It reaches all processes of the group, Ray's too."""
    running = terminal.rows()
    for _ in range(presses):
        os.killpg(terminal.process.pid, signal.SIGINT)
        time.sleep(0.2)
    status, said = terminal.ended()
    assert status == 130, said
    assert "Ctrl-C again" in said
    assert f"telos resume {terminal.out}" in said
    assert "Traceback" not in said
    if presses == 1:
        assert terminal.rows() > running, "what was running was finished"
    assert telos("resume", terminal.out).status == 0
    assert undisturbed.equals(terminal.out)
