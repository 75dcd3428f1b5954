"""Players for the tests, on the workers' PYTHONPATH; they report something or fail in some way."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np

from agent.config.resolved import Resolved
from agent.rollouts.episode import Step
from agent.rollouts.jobs import Played
from benchmarks.players import trivial

MARKS = "TELOS_TEST_MARKS"  # names a folder in which players leave marks, so that they fail only once


def threads(resolved: Resolved, episode: int) -> Generator[Step, None, Played]:
    """The row's margins are numbers of threads of this process."""
    import torch

    from agent.rollouts import player

    agent, world = player.wired(resolved)
    world.env.close()
    done = yield from trivial.play(resolved, episode)
    found = {
        "mujoco": float(agent.model.physics.threads),  # pyright: ignore[reportAttributeAccessIssue]
        "torch": float(torch.get_num_threads()),
        "omp": float(os.environ.get("OMP_NUM_THREADS", "nan")),
    }
    return replace(done, row=replace(done.row, min_margin=found))


def whereabouts(resolved: Resolved, episode: int) -> Generator[Step, None, Played]:
    """The row's margins are the positions in sys.path of the code sent along and of the installed packages."""
    done = yield from trivial.play(resolved, episode)
    came = [at for at, path in enumerate(sys.path) if "py_modules_files" in path and (Path(path) / "agent").is_dir()]
    installed = [at for at, path in enumerate(sys.path) if path.endswith("site-packages")]
    found = {"came along": float(came[0]) if came else math.inf, "installed": float(installed[0])}
    return replace(done, row=replace(done.row, min_margin=found))


def dies(resolved: Resolved, episode: int) -> Generator[Step, None, Played]:
    """Killed the first time it is played, in the middle."""
    return (yield from _once(resolved, episode, signal.SIGKILL))


def stands_still(resolved: Resolved, episode: int) -> Generator[Step, None, Played]:
    """Stopped the first time it is played, in the middle."""
    return (yield from _once(resolved, episode, signal.SIGSTOP))


def always_dies(resolved: Resolved, episode: int) -> Generator[Step, None, Played]:
    """Killed each time it is played."""
    yield from ()
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    raise AssertionError


def out_of_memory(resolved: Resolved, episode: int) -> Generator[Step, None, Played]:
    """Allocates more memory than there is."""
    yield from ()
    np.ones(10**14)
    raise AssertionError


def _once(resolved: Resolved, episode: int, number: int) -> Generator[Step, None, Played]:
    mark = Path(os.environ[MARKS]) / f"{signal.Signals(number).name}-{resolved.config.seed}-{episode}"
    stream = trivial.play(resolved, episode)
    while True:
        try:
            step = next(stream)
        except StopIteration as end:
            return end.value
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), number)
            time.sleep(60)  # the signal arrives a moment later; until then this thread must not go on
        yield step
