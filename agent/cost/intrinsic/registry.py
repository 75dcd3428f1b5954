"""Intrinsic costs by name, as lazy strings: the configuration has a weight for each, and imports none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.cost.objective import Cost


@dataclass(frozen=True)
class Entry:
    """One cost: a class that `agent.cost.objective.Cost` describes, made without arguments."""

    target: str  # "module:Class"
    summary: str  # what its weight is the weight of


BUILT_IN: Mapping[str, Entry] = {
    "effort": Entry("agent.cost.intrinsic.effort:Effort", "the mean squared action"),
    "action_rate": Entry("agent.cost.intrinsic.action_rate:ActionRate", "the mean squared action change"),
    "doubt": Entry("agent.cost.intrinsic.doubt:Doubt", "the model's doubt"),
}


def make(name: str) -> Cost:
    """The cost of that name in `BUILT_IN`."""
    module, _, attribute = BUILT_IN[name].target.partition(":")
    return getattr(import_module(module), attribute)()
