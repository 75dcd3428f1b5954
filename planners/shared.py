"""Parameters that mean the same in several planners, so that a user who switches planners can keep their values.

The name alone is not enough: `momentum` belongs to Adam in one planner and smooths the elites' statistics in another.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_SAMPLING = ("random_shooting", "predictive_sampling", "cem", "icem", "mppi", "elite_mppi", "dial_mpc")
_CELLS = ("value_iteration", "dijkstra", "a_star")

SAME: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "samples": _SAMPLING,
        "iterations": _SAMPLING,
        "knots": (*_SAMPLING, "gradient"),
        "interpolation": (*_SAMPLING, "gradient"),
        "descent": _SAMPLING,
        "elites": ("cem", "icem", "elite_mppi"),
        "std": ("predictive_sampling", "cem", "icem", "mppi", "elite_mppi", "dial_mpc", "gradient", "ilqr"),
        "least_std": ("cem", "elite_mppi"),
        "beta": ("icem", "mppi", "elite_mppi", "gradient", "ilqr"),
        "temperature": ("mppi", "elite_mppi", "dial_mpc"),
        "penalty": ("gradient", "ilqr"),
        "growth": ("gradient", "ilqr"),
        "slack": ("gradient", "ilqr"),
        "cells": _CELLS,
        "bound": _CELLS,
        "actions_per_dimension": _CELLS,
        "hold": (*_CELLS, "sst", "mcts"),
        "batch": (*_CELLS, "sst", "mcts"),
        "most_reward": ("dijkstra", "a_star", "sst"),
        "goal_cost": ("dijkstra", "a_star", "sst"),
    }
)
"""Parameter -> the planners in which it means the same."""


def means_the_same(name: str, planner: str, other: str) -> bool:
    """Whether a parameter of one planner is a parameter of the other, with the same meaning."""
    return {planner, other} <= set(SAME.get(name, ()))
