"""Groups of tests run in one process each: without that, every process makes the fixtures of all groups."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.xdist_group("grouped")


def test_the_group_of_a_test_reaches_the_scheduler(request: pytest.FixtureRequest) -> None:
    """pytest-xdist appends the group to the id by which it distributes tests."""
    distributed = "PYTEST_XDIST_WORKER" in os.environ
    assert request.node.nodeid.endswith("@grouped") == distributed
