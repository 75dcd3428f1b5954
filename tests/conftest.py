"""Settings of every test process: one torch thread, no deadlines, and a GL backend that is known to work, or none.

All tests that need Ray share one cluster of two nodes on loopback, with one CPU each.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from agent.command.cli import main
from agent.config.config import Config
from envs.render import quiet_gl

settings.register_profile("telos", deadline=None)  # tests must not fail on a busy machine
RAIL = {"kind": "joint_position", "name": "short_rail", "joint": "slider", "lower": -1.0, "upper": 1.0, "unit": "m"}
HEAD = {"num_cpus": 1, "include_dashboard": False, "include_log_monitor": False}
FAST = {
    "episodes": 4,
    "frames": 25,
    "video": False,
    "planner.horizon": 10,
    "planner.budget.evaluations": 16,
    "planner.params": {"iterations": 2, "knots": 5, "elites": 4},
    "guardrails": [{**RAIL, "scale": 0.1}],
}


def pytest_configure() -> None:
    settings.load_profile("telos")
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))  # read once, when Ray is imported
    quiet_gl(video=True)  # before anything imports mujoco or dm_control, which read it once
    import torch

    torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order and group the tests.

    Tests that need Ray come first, in one process: they mostly wait, and the other process runs the rest meanwhile.
    Tests that start a Ray of their own come before those that share one, so that one Ray runs at a time. All tests of
    one environment run in one process, so that it is made once.
    """
    for item in items:
        params = getattr(item, "callspec", None)
        if params is not None and "env" in params.params:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.stem} {params.params['env']}"))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[int, bool]:
    group = item.get_closest_marker("xdist_group")
    order = {"ray": 0, "wheel": 1}.get(group.args[0], 2) if group is not None else 2
    return order, "cluster" in item.fixturenames  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class Called:
    """Exit status and output of one call of the command."""

    status: int
    out: str
    err: str


def call(*argv: object) -> Called:
    """`telos ARGV` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(word) for word in argv])
        except SystemExit as stop:  # --help
            status = int(stop.code or 0)
    return Called(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def telos() -> Callable[..., Called]:
    return call


@contextlib.contextmanager
def unreported() -> Iterator[None]:
    """Runs write no report and no video."""
    from agent.reports import report
    from envs import render

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", lambda rundir: rundir.path)
        patch.setattr(render, "ffmpeg", lambda: None)
        yield


@pytest.fixture
def fast() -> Iterator[None]:
    """No report and no video, for tests that run often."""
    with unreported():
        yield


@pytest.fixture(scope="session")
def small() -> Callable[..., Config]:
    """Makes a configuration whose episodes take a fraction of a second."""
    from agent.config.load import load

    def made(**overrides: Any) -> Config:
        return load(task="dm_control/cartpole-swingup-v0", overrides={**FAST, **overrides})

    return made


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two Ray nodes; their workers can import the tests' players and know the folder for their marks."""
    marks = tmp_path_factory.mktemp("marks")
    os.environ.update(PYTHONPATH=str(Path(__file__).parent / "players"), TELOS_TEST_MARKS=str(marks))
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args=HEAD)
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    yield nodes
    nodes.shutdown()
