"""An undisturbed run, with which every disturbed run is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.command import run
from agent.config.config import Config
from agent.rollouts.row import TIMES, Steps
from agent.runs.rundir import RunDir
from tests.conftest import unreported

EPISODES = 8


@dataclass(frozen=True)
class Undisturbed:
    """The undisturbed run."""

    file: Path  # its configuration
    rundir: RunDir

    def equals(self, path: Path) -> bool:
        """Whether a run directory has the same episodes, each once, apart from times."""
        there = RunDir.open(path)
        lines = (path / "episodes.jsonl").read_bytes().splitlines()
        assert len(lines) == EPISODES, "none lost, none twice"
        names = [field.name for field in fields(Steps) if field.name not in ("plan_ms", "decision_ms")]
        for row, ours in zip(there.rows(), self.rundir.rows(), strict=True):
            assert _untimed(row) == _untimed(ours)
            steps, wanted = there.steps(row.episode), self.rundir.steps(row.episode)
            assert all(np.array_equal(getattr(steps, name), getattr(wanted, name)) for name in names)
        return True


def _untimed(row: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name not in TIMES}


@pytest.fixture(scope="session")
def undisturbed(small: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    config = small(episodes=EPISODES, frames=40, threads=1)
    with unreported():
        rundir = run.run(config, folder / "run")
    return Undisturbed(rundir.path / "config.yaml", rundir)
