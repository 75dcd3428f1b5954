"""Parameters that have the same meaning in several planners."""

from __future__ import annotations

from dataclasses import fields

import pytest

from planners import registry
from planners.shared import SAME, means_the_same

OTHERWISE = {
    "samples": {"ilqr"},  # before a descent, not per iteration
    "iterations": {"gradient"},  # of Adam, not of a distribution
    "momentum": {"icem", "gradient"},  # of elites' mean, and of Adam
    "beta": {"mcts"},  # colour from edge to edge, not from step to step
    "std": {"mcts"},  # around the best edge, not around a plan
    "actions_per_dimension": {"mcts"},  # may be none
}
"""Parameters with the same name but another meaning, and the planners concerned."""


def owners(name: str) -> set[str]:
    """The planners with a parameter of this name."""
    return {planner for planner in registry.BUILT_IN if name in {f.name for f in fields(registry.load(planner).Params)}}


@pytest.mark.parametrize("name", SAME)
def test_every_planner_named_has_the_parameter(name: str) -> None:
    assert set(SAME[name]) | OTHERWISE.get(name, set()) == owners(name)


def test_every_name_that_planners_share_is_judged() -> None:
    names = {field.name for planner in registry.BUILT_IN for field in fields(registry.load(planner).Params)}
    assert {name for name in names if len(owners(name)) > 1} == SAME.keys() | OTHERWISE.keys()


def test_a_name_alone_does_not_tell() -> None:
    assert means_the_same("knots", "icem", "gradient")
    assert not means_the_same("momentum", "icem", "gradient")
    assert not means_the_same("keep", "icem", "icem2")
