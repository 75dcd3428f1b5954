"""The table of `telos list tasks` agrees with the environments."""

from __future__ import annotations

from contextlib import closing

import pytest
from gymnasium import spaces

from envs import registry
from envs.facts import FACTS, Facts
from envs.task import interface


def test_every_built_in_task_has_its_facts() -> None:
    assert FACTS.keys() == registry.TASKS.keys()


@pytest.mark.parametrize("task", FACTS)
def test_the_facts_are_those_of_the_environment(task: str) -> None:
    with closing(registry.load(task).backend()) as backend:
        found = interface(backend)
        observation = spaces.flatdim(backend.observation_space)
        assert FACTS[task] == Facts(
            observation, found.action_size, pytest.approx(found.control_period), found.frame_limit
        )
