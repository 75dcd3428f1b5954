"""The configurator module: adapts horizon, budget, weights and planner during an episode.

`Settings` has no field for a guardrail, so no rule can change one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from envs.errors import TelosError
from planners.problem import Budget, Plan

MAX_EVALUATIONS, MAX_SECONDS = 10_000_000, 60.0  # limits on one decision's budget, as in the configuration
Quantity = Literal["plan_cost", "mean_cost", "plan_margin", "step"]


@dataclass(frozen=True)
class Settings:
    """The settings that may change from one decision to the next."""

    planner: str
    planner_params: Mapping[str, Any]
    horizon: int  # control steps
    budget: Budget
    weights: tuple[float, ...]  # of the objective's terms


@dataclass(frozen=True)
class Rule:
    """Settings that replace the base ones while a condition holds."""

    quantity: Quantity
    above: float | None = None  # holds where the quantity is larger
    below: float | None = None  # holds where the quantity is smaller
    rises_by: float | None = None  # holds where it rose by more than this fraction of its last absolute value
    horizon: int | None = None
    budget_factor: float = 1.0
    weights: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))  # term -> weight
    planner: str | None = None
    planner_params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.above is None and self.below is None and self.rises_by is None:
            raise TelosError("configurator.rules", "a rule without a condition", "above, below or rises_by")
        if self.above is not None and self.below is not None and not self.above < self.below:
            given = f"above {self.above} and below {self.below}, which never hold together"
            raise TelosError("configurator.rules", given, "above < below")
        if self.planner_params and self.planner is None:
            raise TelosError("configurator.rules.planner_params", "without a planner", "planner and planner_params")
        if not self.budget_factor > 0:
            raise TelosError("configurator.rules.budget_factor", self.budget_factor, "> 0")

    def holds(self, now: float, last: float | None) -> bool:
        """Whether every stated condition holds for the quantity's present and previous value."""
        if self.above is not None and not now > self.above:
            return False
        if self.below is not None and not now < self.below:
            return False
        if self.rises_by is None:
            return True
        return last is not None and now - last > self.rises_by * abs(last)


@dataclass(frozen=True)
class Observed:
    """The quantities that rules read after each plan."""

    plan_cost: float
    mean_cost: float  # plan cost per control step: comparable across horizons, except for a critic's terminal cost
    plan_margin: float  # the smallest of the plan's margins; +inf without guardrails
    step: float  # control steps since the episode began

    @staticmethod
    def of(plan: Plan[Any], step: int) -> Observed:
        margin = float(plan.margin.min()) if plan.margin.numel() else float("inf")
        return Observed(plan.cost, plan.cost / len(plan.actions), margin, float(step))


class Configurator:
    """Applies declared rules, in order, to the base settings."""

    def __init__(self, base: Settings, rules: tuple[Rule, ...] = ()) -> None:
        self.base = base
        self.rules = rules
        self._last: Observed | None = None
        self._settings = base

    def reset(self) -> None:
        """Back to the base settings."""
        self._last, self._settings = None, self.base

    @property
    def settings(self) -> Settings:
        """The settings of the next decision."""
        return self._settings

    def observe(self, plan: Plan[Any], step: int) -> None:
        """Apply the rules to the plan just made; the resulting settings hold for the next decision."""
        now = Observed.of(plan, step)
        settings = self.base
        for rule in self.rules:
            last = None if self._last is None else getattr(self._last, rule.quantity)
            if rule.holds(getattr(now, rule.quantity), last):
                settings = modulated(settings, rule)
        self._last, self._settings = now, settings


def modulated(settings: Settings, rule: Rule) -> Settings:
    """The settings after one rule is applied."""
    budget = settings.budget
    if budget.evaluations is not None:
        budget = Budget(evaluations=min(max(1, round(budget.evaluations * rule.budget_factor)), MAX_EVALUATIONS))
    elif budget.seconds is not None:
        budget = Budget(seconds=min(budget.seconds * rule.budget_factor, MAX_SECONDS))
    weights = tuple(rule.weights.get(index, weight) for index, weight in enumerate(settings.weights))
    return replace(
        settings,
        horizon=rule.horizon or settings.horizon,
        budget=budget,
        weights=weights,
        planner=rule.planner or settings.planner,
        planner_params=rule.planner_params if rule.planner else settings.planner_params,
    )
