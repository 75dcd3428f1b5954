"""Real-time control: the planner searches in a background thread while the world goes on.

The world takes one control step per clock period. Each step executes the latest finished plan, at the index that equals
the plan's age: the number of control steps since the plan's start state. Every search starts from the newest state.
Perception, composition with its digest check, and memory stay in the caller's thread, as does the guarded world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from agent.actor.background import BackgroundActor, Mind, PlannerThread, Thinker
from agent.actor.clock import Clock, Pace, Ticks, WallClock
from agent.agent import Agent, Decision
from envs.errors import TelosError
from envs.percept import Percept


class RealTimeAgent(Agent):
    """An `Agent` whose world does not wait for the planner, except for the first plan of an episode.

    While an episode runs, the planner's thread uses the world model: call neither the model nor a decision's `problem`
    before `finish` or `close`.
    """

    def __init__(
        self,
        *modules: Any,
        factor: float = 1.0,
        clock: Clock | None = None,
        thinker: Callable[[Mind], Thinker] = PlannerThread,
    ) -> None:
        """
        Args:
            modules: those of `Agent`.
            factor: simulated seconds per second of the clock.
            clock: real time where None.
            thinker: makes the `Thinker` that runs the planner; a thread by default.

        Raises:
            TelosError: `factor` is not positive and finite, or `Agent` refuses its modules.
        """
        if not 0 < factor < float("inf"):
            raise TelosError("real_time", factor, "simulated seconds per second, above 0")
        super().__init__(*modules)
        self.factor = factor
        self.clock = clock or WallClock()
        self.actor: BackgroundActor = BackgroundActor(self.actor, thinker)
        self._ticks: Ticks | None = None
        self._ages: list[float] = []

    def reset(self, seed: int = 0) -> None:
        """See `Agent`."""
        super().reset(seed)
        self._ticks = None
        self._ages = []

    def act(self, percept: Percept) -> Decision:
        """See `Agent`; waits for the next clock tick, and acts by the latest plan. Raises what planning raised."""
        if self._ticks is not None:
            self._ticks.wait()
        decision = super().act(percept)
        if self._ticks is None:
            self._ticks = Ticks(self.clock, self.model.dt / self.factor)
        age = self.actor.age * self.model.dt
        self._ages.append(age)
        return replace(decision, age=age, plan_seconds=decision.plan.statistics.seconds)

    def finish(self, percept: Percept) -> None:
        """See `Agent`."""
        self.close()
        super().finish(percept)

    def close(self) -> None:
        """See `Agent`."""
        self.actor.close()

    @property
    def pace(self) -> Pace | None:
        """Timing statistics of the episode so far; None before its first decision."""
        if self._ticks is None:
            return None
        ticks, seconds = self._ticks, self._ticks.seconds
        return Pace(
            asked=self.factor,
            factor=ticks.passed * self.model.dt / seconds if seconds > 0 else float("nan"),
            age_median=float(np.median(self._ages)),
            age_p95=float(np.percentile(self._ages, 95)),
            plans=self.actor.mind.plans,
            planning=self.actor.mind.seconds,
        )
