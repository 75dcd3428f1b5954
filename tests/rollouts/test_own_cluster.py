"""A Ray that the command starts serves this machine alone, and leaves no files behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import provenance

pytestmark = pytest.mark.xdist_group("ray")
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}  # v4, mapped, v6
CONFIG = """\
task: dm_control/cartpole-swingup-v0
episodes: 1000000
frames: 5
threads: 1
video: false
planner: {kind: icem, horizon: 4, budget: {evaluations: 4}, params: {iterations: 1, elites: 2}}
"""


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """With a temporary folder of its own, whose name leaves room for the paths of sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        hidden = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS")
        there = {name: value for name, value in os.environ.items() if name not in hidden}
        yield {**there, "TMPDIR": folder, "PYTHONPATH": str(provenance.ROOT)}


def test_it_listens_on_loopback_and_removes_its_files(environment: dict[str, str]) -> None:
    script = Path(__file__).with_name("own_cluster.py")
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=240, check=True
    )
    found = json.loads(done.stdout)
    assert len(found["listening"]) >= 3, "its head, its node, its worker"
    assert set(found["listening"]) <= LOOPBACK
    assert len(found["folders"]) == 1
    assert found["left"] == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_no_files_are_left_after_a_signal(environment: dict[str, str], tmp_path: Path, stop: signal.Signals) -> None:
    """To the process that drives Ray: Ctrl-C, or the end without a chance to clear up."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "agent.cli", "run", "config.yaml", "--workers", "1", "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    rows = tmp_path / "run" / "episodes.jsonl"
    while not (rows.exists() and rows.stat().st_size):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    folder = Path(environment["TMPDIR"])
    (session,) = folder.glob("telos-ray-*")
    driver = int(session.name.split("-")[2])
    os.kill(driver, stop)
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    assert list(folder.glob("*ray*")) == []
