"""Intrinsic costs by name: the configuration has a weight for each, and imports none of them."""

from __future__ import annotations

from types import MappingProxyType

from envs.table import Entry, Table

TABLE = Table(
    "cost",
    "telos.costs",
    MappingProxyType(
        {
            "effort": Entry("agent.cost.intrinsic.effort:Effort", "the mean squared action"),
            "action_rate": Entry("agent.cost.intrinsic.action_rate:ActionRate", "the mean squared action change"),
            "doubt": Entry("agent.cost.intrinsic.doubt:Doubt", "the model's doubt"),
            "curiosity": Entry("agent.cost.intrinsic.curiosity:Curiosity", "what the model is sure of"),
        }
    ),
)
"""Name -> a class that implements `agent.cost.objective.Cost`, made without arguments."""
