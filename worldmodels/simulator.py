"""MuJoCo itself as the world model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from envs.errors import TelosError
from envs.physics import BatchPhysics, PhysicsOptions
from envs.requests import Request
from envs.task import Interface, Snapshot, Task
from envs.trajectory import Trajectory, no_doubt
from worldmodels.model import Spent


class Simulator:
    """Imagines with the task's nominal model; its numerics may differ from the real ones."""

    stride = 1

    def __init__(
        self,
        task: Task,
        interface: Interface,
        requests: Iterable[Request] = (),
        options: PhysicsOptions | None = None,
        threads: int | None = None,
    ) -> None:
        """
        Args:
            task: what to imagine; its reward's signals are always recorded.
            interface: how the agent is coupled to the task's environment.
            requests: further signals that costs and guardrails in use ask for.
            options: planning time step, integrator and solver.
            threads: C threads; all CPUs of this process where None.

        Raises:
            TelosError: a signal that the model lacks, or a time step that does not fit.
        """
        self.task = task
        self.interface = interface
        self.dt = interface.control_period
        self.physics = BatchPhysics(task.spec, (*task.requests, *requests), self.dt, options, threads)
        self.action_size = interface.action_size

    @property
    def spent(self) -> Spent:
        """Physics steps, and seconds inside MuJoCo's C code."""
        return Spent(self.physics.steps, self.physics.seconds)

    def imagine(self, start: Snapshot, actions: Tensor, states: bool = False) -> Trajectory:
        """Simulate N candidates (N,H,A) from `start`; see `WorldModel.imagine`."""
        return self._rollout(start, start.state, actions, states)

    def branch(self, start: Snapshot, states: Tensor, actions: Tensor) -> Trajectory:
        """Simulate N candidates (N,K,A), each from its own state (N,S); see `worldmodels.model.Branching`.

        Raises:
            TelosError: signals that lag behind the state.
        """
        if self.physics.lagging:
            given = f"{self.task.id}, whose {self.physics.lagging[0]} lags one physics step behind its state"
            raise TelosError("planner", given, "a planner that judges whole futures: no state says where to go on from")
        return self._rollout(start, states.numpy(), actions, True)

    def _rollout(self, start: Snapshot, states: np.ndarray, actions: Tensor, record: bool) -> Trajectory:
        self.physics.set_params(start.params)
        recording = self.physics.rollout(states, self.interface.native(actions.numpy()), record)
        return Trajectory(recording.states, actions, recording.signals, recording.valid, no_doubt(actions), self.dt)
