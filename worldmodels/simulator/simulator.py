"""MuJoCo itself as the world model."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import mujoco
import numpy as np
import torch
from torch import Tensor

from envs.errors import TelosError
from envs.physics.batch import BatchPhysics, PhysicsOptions
from envs.physics.variants import Variant
from envs.requests import Request
from envs.task import Interface, Task
from envs.trajectory import Trajectory, no_doubt
from worldmodels.belief import Belief
from worldmodels.model import Chart, Source, Spent
from worldmodels.simulator import chart
from worldmodels.simulator.embedding import Embedding
from worldmodels.simulator.tangent import Tangent


class Simulator:
    """Simulates the task's model, nominal or a variant; its numerics may differ from the environment's."""

    stride = 1
    starts_from: Source = "state"

    def __init__(
        self,
        task: Task,
        interface: Interface,
        requests: Iterable[Request] = (),
        options: PhysicsOptions | None = None,
        threads: int | None = None,
        variant: Variant | None = None,
    ) -> None:
        """
        Args:
            task: the task to imagine; its reward's signals are always recorded.
            interface: how the agent is coupled to the task's environment.
            requests: further signals that costs and guardrails read.
            options: planning time step, integrator and solver settings.
            threads: C threads; all CPUs of this process where None.
            variant: how the imagined physics differ from the nominal model.

        Raises:
            TelosError: a signal that the model lacks, a time step that does not fit, or a variant that differs in
                more than physics.
        """
        for name in ("latency", "observation_noise"):  # they belong to the coupling to the world, not to the state
            if variant is not None and getattr(variant, name) != 0:
                raise TelosError(f"variant.{name}", getattr(variant, name), "0: only a model's physics can vary")
        self.task = task
        self.interface = interface
        self.dt = interface.control_period
        wanted = (*task.requests, *requests)
        self.signals = frozenset(wanted)
        self.physics = BatchPhysics(task.spec, wanted, self.dt, options, threads, variant)
        self.action_size = interface.action_size

    @property
    def spent(self) -> Spent:
        """Physics steps, seconds inside MuJoCo's C code, and diverged candidates."""
        return Spent(self.physics.steps, self.physics.seconds, self.physics.diverged)

    def imagine(self, start: Belief, actions: Tensor, states: bool = False) -> Trajectory:
        """Simulate N candidates (N,H,A) from `start`; see `WorldModel.imagine`."""
        return self._rollout(start, start.simulated.state, actions, states)

    def resumable(self) -> bool:
        """Whether `branch` can continue from a state."""
        return not self.physics.lagging

    def root(self, start: Belief) -> Tensor:
        """The believed state, (1,S)."""
        return torch.from_numpy(start.simulated.state.copy())[None]

    def branch(self, start: Belief, states: Tensor, actions: Tensor) -> Trajectory:
        """Simulate N candidates (N,K,A), each from its own state (N,S); see `worldmodels.model.Branching`.

        Raises:
            TelosError: signals that lag behind the state.
        """
        if self.physics.lagging:
            given = f"{self.task.id}, whose {self.physics.lagging[0]} lags one physics step behind its state"
            raise TelosError("planner", given, "a planner that judges whole futures: no state says where to go on from")
        return self._rollout(start, states.numpy(), actions, True)

    @cached_property
    def _tangent(self) -> Tangent:
        return Tangent(self.physics.model)

    def tangent_size(self) -> int:
        """D; see `worldmodels.simulator.tangent`."""
        return self._tangent.size

    def displace(self, states: Tensor, by: Tensor) -> Tensor:
        """States (N,S) moved by tangent vectors (N,D)."""
        return torch.from_numpy(self._tangent.displace(states.numpy(), by.numpy()))

    def difference(self, origin: Tensor, states: Tensor) -> Tensor:
        """The tangent vectors (N,D) that lead from `origin` (N,S) to `states` (N,S)."""
        return torch.from_numpy(self._tangent.difference(origin.numpy(), states.numpy()))

    @cached_property
    def _embedding(self) -> Embedding:
        return Embedding(self.physics.model)

    def embedding(self, states: Tensor, seconds: float) -> Tensor:
        """(N,S) -> (N,D'), points as in `worldmodels.simulator.embedding`, with velocities times `seconds`."""
        return torch.from_numpy(self._embedding.points(states.numpy(), seconds))

    def mechanics(self, start: Belief) -> mujoco.MjModel:
        """The simulated model with the reset's parameters; it must not be modified."""
        self.physics.set_params(start.params)
        return self.physics.model

    def chart(self) -> Chart:
        """The positions and velocities of hinges and slides. Raises TelosError for ball and free joints."""
        return chart.joints(self.physics.model).chart

    def coordinates(self, states: Tensor) -> Tensor:
        """(N,S) -> (N,D) in the order of the chart; angles without limits are in [-pi,pi)."""
        return torch.from_numpy(chart.read(self.physics.model, states.numpy()))

    def place(self, start: Belief, coordinates: Tensor) -> Tensor:
        """(N,D) -> (N,S): states with these coordinates, actuators and warm starts at zero, the rest as in `start`."""
        return torch.from_numpy(chart.write(self.physics.model, start.simulated.state, coordinates.numpy()))

    def identity(self, start: Belief) -> str:
        """A digest of simulator and reset parameters; see `worldmodels.model.Coordinated`."""
        ends = (*self.interface.action_low.tolist(), *self.interface.action_high.tolist())
        return chart.identity(self.task.id, self.physics, (self.dt, *ends), start.params)

    def _rollout(self, start: Belief, states: np.ndarray, actions: Tensor, record: bool) -> Trajectory:
        self.physics.set_params(start.params)
        recording = self.physics.rollout(states, self.interface.native(actions.numpy()), record)
        return Trajectory(recording.states, actions, recording.signals, recording.valid, no_doubt(actions), self.dt)
