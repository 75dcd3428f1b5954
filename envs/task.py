"""Types of the real world: a task, the values that its reset chose, and a snapshot of the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from envs.errors import TelosError
from envs.requests import Request
from envs.trajectory import Trajectory

if TYPE_CHECKING:
    import gymnasium
    import mujoco

    from envs.backup import BackUp


@dataclass(frozen=True)
class TaskParams:
    """The values that a reset writes outside the physics state; every snapshot carries them beside the state."""

    model: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    """MjModel field -> its whole array, for the fields that resets write (targets, sizes)."""
    attributes: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    """Attributes of the environment's task that its reward reads."""
    stale: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    """MjData field -> its value, for fields that lag behind the state and that reward or termination read."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle through plain dicts, because a mapping proxy can be neither copied nor pickled."""
        return _params, tuple(dict(part) for part in (self.model, self.attributes, self.stale))

    def same_model(self, other: TaskParams) -> bool:
        """Whether both write the same values into the model."""
        return self.model.keys() == other.model.keys() and all(
            np.array_equal(value, other.model[name]) for name, value in self.model.items()
        )


def _params(*parts: dict[str, np.ndarray]) -> TaskParams:
    return TaskParams(*(MappingProxyType(part) for part in parts))


@dataclass(frozen=True)
class Snapshot:
    """The state of the world: all that a model or a monitor needs to simulate from here."""

    state: np.ndarray  # (S,), mjSTATE_INTEGRATION
    params: TaskParams

    @property
    def time(self) -> float:
        """Simulated time, s."""
        return float(self.state[0])


class Backend(Protocol):
    """The real environment behind an `Environment`: dm_control, Gymnasium, or a user's MJCF."""

    model: mujoco.MjModel
    data: mujoco.MjData
    substeps: int
    frame_limit: int
    observation_space: gymnasium.Space[Any]
    action_low: np.ndarray
    action_high: np.ndarray

    def reset(self, seed: int) -> Any: ...

    def step(self, action: np.ndarray) -> tuple[Any, float, bool]:
        """Apply a native action (A,); return the observation, the reward, and whether it terminated.

        Raises:
            Diverged: the simulation diverged.
        """
        ...

    def observe(self) -> Any:
        """The observation of the present MjData."""
        ...

    def attributes(self, names: tuple[str, ...]) -> dict[str, np.ndarray]: ...

    def hidden(self) -> Any:
        """The picklable state outside MjModel and MjData that the future depends on: counters, targets, generators."""
        ...

    def restore(self, hidden: Any) -> None:
        """Restore what `hidden` of the same task returned. Raises TelosError where it does not fit."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Interface:
    """How an agent is coupled to the task's environment."""

    control_period: float  # s per control step
    action_low: np.ndarray  # (A,), native units, reached at -1
    action_high: np.ndarray  # (A,), native units, reached at +1
    frame_limit: int  # control steps per episode

    @property
    def action_size(self) -> int:
        return len(self.action_low)

    def native(self, actions: np.ndarray) -> np.ndarray:
        """Actions in [-1,1], (…,A), converted to native units."""
        return actions if self._plain else self._center + self._half * actions

    def normalised(self, native: np.ndarray) -> np.ndarray:
        """A native control (A,), clipped to its range, as an action in [-1,1]."""
        # np.clip costs as much as a small model's physics step, and the gate takes hundreds of these per decision.
        within = np.minimum(np.maximum(native, self.action_low), self.action_high)
        if self._plain:
            return within
        # Clipped again: rounding may exceed [-1,1], and the environment refuses actions outside of it.
        return np.minimum(np.maximum((within - self._center) / self._half, -1.0), 1.0)

    @cached_property
    def _plain(self) -> bool:
        return bool((self.action_low == -1).all() and (self.action_high == 1).all())

    @cached_property
    def _center(self) -> np.ndarray:
        return (self.action_high + self.action_low) / 2

    @cached_property
    def _half(self) -> np.ndarray:
        return (self.action_high - self.action_low) / 2


RewardFunction = Callable[[Trajectory, TaskParams], Tensor]
"""Reward of every step, (N,H), float64."""
TerminationFunction = Callable[[Trajectory, TaskParams], Tensor]
"""Whether each step ends the episode, (N,H), bool."""
RewardBound = Callable[["mujoco.MjModel", float], Callable[[Tensor], Tensor]]
"""Makes an admissible and consistent lower bound on the cost-to-go. A step costs 1 - reward; rewards are at most 1.

Its arguments are the model, with the values that a reset wrote, and the control period in s. It returns a function that
maps joint positions and velocities (N,D), positions first, to the bound (N,). The bound is 0 at states from which
nearly the full reward can be earned.
"""


@dataclass(frozen=True)
class Task:
    """One definition from which both the environment (reality) and the simulator (imagination) are made."""

    id: str
    backend: Callable[[], Backend]
    spec: Callable[[], mujoco.MjSpec]  # the same model, to which sensors may be added
    reward: RewardFunction
    requests: tuple[Request, ...]  # what reward and termination read
    termination: TerminationFunction | None = None
    params: tuple[str, ...] = ()  # MjModel fields that a reset writes
    attributes: tuple[str, ...] = ()  # attributes of the environment's task that the reward reads
    back_up: BackUp | None = None
    reward_bound: RewardBound | None = None  # guides A*
    guardrails: Callable[[], tuple[Mapping[str, Any], ...]] = tuple  # of its file, made anew: no reader can change them
    camera: str | int | None = None  # a camera of the model, for pictures; None chooses one that shows what moves
    source: str = field(default="", init=False, compare=False)
    """The source from which `envs.registry.load` made this task.

    "" for a task made in another way, also by `dataclasses.replace`.
    """
    maker: Callable[[str, str], Task] | None = field(default=None, init=False, compare=False, repr=False)
    """A function of id and source that makes the task again, where it has a source."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle id and source only: unpickling makes the task again, because its functions cannot be pickled.

        Raises:
            TelosError: the task was not made from its id.
        """
        if self.maker is None:
            allowed = "a task as envs.registry.load makes it; copy.deepcopy works for any"
            raise TelosError(f"pickle of task {self.id!r}", "a task that cannot be made again from its id", allowed)
        return self.maker, (self.id, self.source)

    def __deepcopy__(self, memo: dict[int, Any]) -> Task:
        """The task itself, because it has no state."""
        return self

    def interface(self) -> Interface:
        """Make the environment once, and read how an agent is coupled to it."""
        backend = self.backend()
        try:
            return interface(backend)
        finally:
            backend.close()


def interface(backend: Backend) -> Interface:
    """How an agent is coupled to this environment."""
    return Interface(
        backend.substeps * float(backend.model.opt.timestep),
        backend.action_low,
        backend.action_high,
        backend.frame_limit,
    )


def at_states(*names: str) -> tuple[Request, ...]:
    """Requests for signals at the states."""
    return tuple(Request(name, "state") for name in names)


def in_steps(*names: str) -> tuple[Request, ...]:
    """Requests for signals at every substep inside the steps."""
    return tuple(Request(name, "interval") for name in names)
