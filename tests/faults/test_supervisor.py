"""The processes left behind by a killed driver, without Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.systems import faults

HALF_DEAD = """
import ctypes, os, signal, subprocess, sys, threading, time
from agent.rollouts.supervisor import supervised

def work():
    if os.fork() == 0:
        subprocess.Popen(["sleep", "1000"])
        threading.Thread(target=time.sleep, args=(1000,)).start()
        ctypes.CDLL(None).pthread_exit(None)  # a zombie, say its first thread and /proc, but the other one lives
    while "Z" not in open(f"/proc/{children()}/stat").read():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

def children():
    return int(open(f"/proc/self/task/{os.getpid()}/children").read().split()[0])

supervised(work, frozenset({0}), 2)
"""


def test_a_process_whose_first_thread_alone_is_gone_is_ended_with_its_children(tmp_path: Path) -> None:
    """A killed process with several threads is briefly in this state."""
    token, said = str(tmp_path), tmp_path / "said"
    with said.open("wb") as file:  # `run` would wait for a pipe while any process holds it open
        done = subprocess.run([sys.executable, "-c", HALF_DEAD], env={faults.TOKEN: token}, stderr=file, check=False)
    assert (done.returncode, "SIGKILL" in said.read_text()) == (2, True), said.read_text()
    assert not faults.living(token)
