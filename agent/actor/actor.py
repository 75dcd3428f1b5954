"""The actor module: Mode-2 planning, a fallback, and a hook for the Mode-1 policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from agent.composition.problem import ImaginedProblem
from envs.errors import TelosError
from envs.trajectory import Trajectory
from planners import registry
from planners.problem import Budget, Plan, Planner, Unsuited
from worldmodels.belief import Belief


class Policy(Protocol):
    """The Mode-1 (amortised) policy: it proposes candidates, and the planner decides."""

    def propose(self, belief: Belief, horizon: int) -> np.ndarray:
        """P action sequences (P,H,A) in [-1,1]."""
        ...


class Actor:
    """Holds a planner with its state between decisions."""

    def __init__(self, planner: str, params: Mapping[str, Any], policy: Policy | None = None) -> None:
        """
        Raises:
            ValueError: unknown planner or parameter.
        """
        self.planner_name, self.planner_params = self._base = planner, params
        self.policy = policy
        self._planner: Planner[Any] = registry.make(planner, **params)
        self._state: Any = None
        self._seed = self._switches = 0

    def reset(self, seed: int) -> None:
        """Drop the last episode's warm start, and return to the planner given at construction."""
        if (self.planner_name, self.planner_params) != self._base:
            self._take(*self._base)
        self._seed, self._switches = seed, 0
        self._state = self._planner.start(seed)

    def switch(self, planner: str, params: Mapping[str, Any]) -> None:
        """Change to another planner, with a cold start and a new seed."""
        self._take(planner, params)
        self._switches += 1
        (seed,) = np.random.SeedSequence([self._seed, self._switches]).generate_state(1)
        self._state = self._planner.start(int(seed))

    def proposals(self, belief: Belief, known: Mapping[str, np.ndarray], horizon: int) -> Mapping[str, Tensor]:
        """Named candidates (H,A) that every planner must consider: those in `known`, as `fitted`, and the policy's.

        Raises TelosError for proposals of another shape.
        """
        if self.policy is None:
            return fitted(known, horizon)
        proposed = np.array(self.policy.propose(belief, horizon), dtype=np.float64)
        if proposed.ndim != 3 or proposed.shape[1] != horizon:
            raise TelosError("policy", f"proposals of shape {proposed.shape}", f"(P,{horizon},A)")
        own = {f"policy {index}": torch.from_numpy(actions) for index, actions in enumerate(proposed)}
        return MappingProxyType({**fitted(known, horizon), **own})

    def plan(self, problem: ImaginedProblem, budget: Budget) -> Plan[Trajectory]:
        """Search, and keep the warm start for the next call.

        Raises:
            TelosError: the planner, with its parameters, cannot solve this problem.
        """
        try:
            plan, self._state = self._planner.plan(self._state, problem, budget)
        except Unsuited as error:
            said, allowed = str(error), "other parameters, or another planner"
            raise TelosError(f"planner {self.planner_name}", said, allowed) from None
        return plan

    def advance(self, steps: int) -> None:
        """Tell the planner that `steps` actions were executed."""
        self._state = self._planner.advance(self._state, steps)

    def _take(self, planner: str, params: Mapping[str, Any]) -> None:
        self.planner_name, self.planner_params = planner, params
        self._planner = registry.make(planner, **params)


def fitted(known: Mapping[str, np.ndarray], horizon: int) -> Mapping[str, Tensor]:
    """Named sequences (T,A) as (H,A): cut to the horizon, or their last action is held up to it."""
    rows = {name: actions[np.minimum(np.arange(horizon), len(actions) - 1)] for name, actions in known.items()}
    return MappingProxyType({n: torch.from_numpy(np.ascontiguousarray(part, np.float64)) for n, part in rows.items()})


def later(plan: Plan[Trajectory], age: int) -> Plan[Trajectory]:
    """The plan from its step `age` on, with its last action held to the end; cost and margins stay the whole plan's."""
    if age == 0:
        return plan
    return replace(plan, actions=plan.actions[np.minimum(np.arange(len(plan.actions)) + age, len(plan.actions) - 1)])
