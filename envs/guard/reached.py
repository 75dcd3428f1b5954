"""Whether the world has reached a goal, judged on its raw state, whatever the agent believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from envs.goal import Goal
from envs.percept import flatten
from envs.physics.batch import BatchPhysics
from envs.physics.variants import Variant
from envs.sizes import check_residuals
from envs.task import Interface, Snapshot, Task
from envs.trajectory import Trajectory, no_doubt


class GoalCheck:
    """Compares the world with a goal after every step."""

    def __init__(self, task: Task, interface: Interface, goal: Goal, variant: Variant | None = None) -> None:
        """Raises TelosError for a goal on a signal or a component that the model lacks, or a target of another size."""
        # A copy: the agent is told the same goal, and could write into its array.
        self._goal = goal if goal.observation is None else replace(goal, observation=np.array(goal.observation))
        self._actions = torch.zeros(1, 1, interface.action_size, dtype=torch.float64)
        self._period = interface.control_period
        self._physics = None
        if goal.near:
            check_residuals(task.spec(), [near.residual for near in goal.near], "goal.near")
            self._physics = BatchPhysics(task.spec, goal.requests, interface.control_period, threads=1, variant=variant)

    def __call__(self, now: Snapshot, observation: Any) -> bool:
        """Whether the goal holds in this state; of an observation, whether no number differs by more than `within`."""
        if self._physics is None:
            assert self._goal.observation is not None
            seen, wanted = flatten(observation), flatten(self._goal.observation)
            return seen.shape == wanted.shape and bool((np.abs(seen - wanted) <= self._goal.within).all())
        self._physics.set_params(now.params)
        signals = self._physics.look(now.state)
        if signals is None:  # a state that cannot be simulated
            return False
        states = torch.zeros(1, 2, 0, dtype=torch.float64)
        valid = torch.ones(1, dtype=torch.bool)
        path = Trajectory(states, self._actions, signals, valid, no_doubt(self._actions), self._period)
        return bool(self._goal.holds(path)[0, 0])
