"""One Ray for all: a cluster of two nodes on loopback, one CPU each."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import Config
from agent.load import load


@pytest.fixture(scope="session")
def small() -> Callable[..., Config]:
    """Makes a configuration whose episodes take a fraction of a second."""
    return _small


def _small(**overrides: Any) -> Config:
    rail = {"kind": "joint_position", "name": "rail", "joint": "slider", "lower": -1.0, "upper": 1.0, "unit": "m"}
    return load(
        task="dm_control/cartpole-swingup-v0",
        overrides={
            "episodes": 4,
            "frames": 25,
            "video": False,
            "planner.horizon": 10,
            "planner.budget.evaluations": 16,
            "planner.params": {"iterations": 2, "knots": 5, "elites": 4},
            "guardrails": [{**rail, "name": "short_rail", "scale": 0.1}],
            **overrides,
        },
    )


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two Ray nodes; their workers find the players of these tests, and a folder for their marks."""
    marks = tmp_path_factory.mktemp("marks")
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    os.environ.update(PYTHONPATH=str(Path(__file__).parent / "players"), TELOS_TEST_MARKS=str(marks))
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    yield nodes
    nodes.shutdown()
