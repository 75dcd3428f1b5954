"""The world an agent acts in, as a `gymnasium.Env` with actions in [-1,1] and snapshots of its state."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

from envs.errors import TelosError
from envs.guardrails.ruleset import Guardrails
from envs.overlay import draw_paths, draw_zones
from envs.physics.batch import INTEGRATION
from envs.physics.compiler import quiet
from envs.physics.variants import Variant
from envs.picture import Picture, View, prepare
from envs.task import Snapshot, Task, TaskParams, interface

ROUNDING = 1e-6  # beyond [-1,1], as float32 and scaling leave it
# Attributes that a copy's own constructor makes.
_REMADE = ("task", "variant", "render_mode", "view", "backend", "interface", "_picture", "_mirror")


class Environment(gymnasium.Env[Any, np.ndarray]):
    """The task's real environment. Reward and observation are its own, untouched."""

    def __init__(
        self,
        task: Task,
        variant: Variant | None = None,
        render_mode: str | None = None,
        view: View | None = None,
    ) -> None:
        """
        Args:
            task: what the world is.
            variant: how its physics differ from the model's.
            render_mode: "rgb_array" for an environment that `render` shows.
            view: what it shows.

        Raises:
            TelosError: another render mode, or a camera that the model lacks.
        """
        if render_mode not in (None, "rgb_array"):
            raise TelosError("render_mode", render_mode, "rgb_array or None")
        quiet()
        self.task = task
        self.variant = variant or Variant()
        self.render_mode = render_mode
        self.view = view or View()
        if self.view.camera is None:
            self.view = replace(self.view, camera=task.camera)
        self.backend = task.backend()
        prepare(self.backend.model, self.view)
        # Resets write nominal values: these fields are nominal while they do, and of the variant afterwards.
        varied = [name for name in task.params if self.variant.factor(name) != 1]
        self._nominal = {name: np.array(getattr(self.backend.model, name)) for name in varied}
        self.variant.apply(self.backend.model)
        self.interface = interface(self.backend)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 1 / self.interface.control_period}
        self.action_space = spaces.Box(-1.0, 1.0, (self.interface.action_size,), np.float64)
        self.observation_space = self.backend.observation_space
        self._queue: list[np.ndarray] = []
        self._frames = 0
        self._closed = False
        self._picture: Picture | None = None
        self._first: np.ndarray | None = None  # (S,) after the first reset: what a camera is chosen by
        self._mirror: mujoco.MjData | None = None  # looks at a state without touching the world
        self.shown = Guardrails()  # zones of these are drawn into rendered frames

    @property
    def model(self) -> mujoco.MjModel:
        """The real model; to be read, not written."""
        return self.backend.model

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode. Without a seed, the next one is drawn from the stream of the last."""
        super().reset(seed=seed)
        drawn = seed if seed is not None else int(self.np_random.integers(2**31))
        for name, value in self._nominal.items():
            getattr(self.model, name)[...] = value
        observation = self.backend.reset(drawn)
        for name in self._nominal:
            self._nominal[name] = np.array(getattr(self.model, name))
            getattr(self.model, name)[...] *= self.variant.factor(name)
        self._noise = np.random.default_rng([drawn, 1])
        self._queue = [np.zeros(self.interface.action_size) for _ in range(self.variant.latency)]
        self._frames = 0
        if self._first is None:
            self._first = self.snapshot().state
        return self._noisy(observation), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One control step with an action (A,) in [-1,1]; what rounding put up to 1e-6 beyond is clipped.

        Raises:
            TelosError: an action of another shape, not finite, or out of range; nothing has moved then.
            Diverged: the simulation diverged; what the environment shows now means nothing until the next reset.
        """
        action = np.array(action, dtype=np.float64)  # a copy: under latency it waits here
        if action.shape != self.action_space.shape:
            raise TelosError("action", f"shape {action.shape}", f"shape {self.action_space.shape}")
        wrong = np.flatnonzero(~(np.abs(action) <= 1 + ROUNDING))  # asked this way round, as NaN fails any comparison
        if len(wrong):
            raise TelosError(f"action[{wrong[0]}]", action[wrong[0]], "a finite number in [-1, 1]")
        self._queue.append(action.clip(-1, 1))
        native = self.interface.native(self._queue.pop(0))
        observation, reward, terminated = self.backend.step(native)
        self._frames += 1
        truncated = self._frames >= self.interface.frame_limit
        return self._noisy(observation), reward, terminated, truncated, {}

    def snapshot(self) -> Snapshot:
        """A copy of where the world stands: integration state and what the reset decided."""
        state = np.empty(mujoco.mj_stateSize(self.model, INTEGRATION))
        mujoco.mj_getState(self.model, self.backend.data, state, INTEGRATION)
        state.flags.writeable = False
        return Snapshot(state, self._params())

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are twins: another world of the same task, in the same state, with the same future.

        Raises:
            TelosError: it is closed, its backend cannot be copied, or, for a pickle, its id does not make its task.
        """
        if self._closed:
            raise TelosError("copy of an environment", "one that is closed", "one that is open")
        if not hasattr(self.backend, "hidden"):  # from another package, of an older telos
            given = f"task {self.task.id!r}, whose {type(self.backend).__name__} has no method `hidden`"
            raise TelosError("copy of an environment", given, "a backend with `hidden` and `restore`")
        own = {name: value for name, value in vars(self).items() if name not in _REMADE}
        inside = copy.deepcopy((own, self.backend.hidden()))
        return _twin, (type(self), self.task, self.variant, self.render_mode, self.view, self.backend.data, *inside)

    def control(self) -> np.ndarray:
        """A copy of the native control (A,) in force during the last step."""
        return np.array(self.backend.data.ctrl)

    def _params(self) -> TaskParams:
        lagging = [r.name for r in self.task.requests if r.name.startswith(("raw/", "post_constraint/"))]
        stale = sorted({name.split("/", 1)[1] for name in lagging})
        data = self.backend.data
        return TaskParams(
            MappingProxyType(
                {name: np.array(self._nominal.get(name, getattr(self.model, name))) for name in self.task.params}
            ),
            MappingProxyType(self.backend.attributes(self.task.attributes)),
            MappingProxyType({name: np.array(getattr(data, name)) for name in stale}),
        )

    def render(self) -> np.ndarray:  # type: ignore[override]
        """The present frame, (height,width,3) uint8, with the zones of `shown`.

        Raises:
            TelosError: the environment was made without a render mode, or nothing can be rendered here.
        """
        return self._drawn(self.backend.data, ())

    def show(self, state: np.ndarray, paths: tuple[np.ndarray, ...] = ()) -> np.ndarray:
        """A frame as `render` returns it of any state (S,) of this episode, with paths (H+1,3) in m drawn into it.

        The world itself does not move. Raises as `render`.
        """
        self._camera()  # chosen first, as that looks at another state in the same mirror
        return self._drawn(self._mirrored(state), paths)

    def _mirrored(self, state: np.ndarray) -> mujoco.MjData:
        if self._mirror is None:
            self._mirror = mujoco.MjData(self.model)
        mujoco.mj_setState(self.model, self._mirror, state, INTEGRATION)
        mujoco.mj_forward(self.model, self._mirror)
        return self._mirror

    def _drawn(self, data: mujoco.MjData, paths: tuple[np.ndarray, ...]) -> np.ndarray:
        picture = self._camera()
        picture.update(data)
        draw_zones(picture.scene, self.shown)
        draw_paths(picture.scene, paths)
        return picture.pixels()

    def _camera(self) -> Picture:
        if self.render_mode is None:
            raise TelosError("render", "an environment of render_mode None", "one made with render_mode='rgb_array'")
        if self._picture is None:
            first = self.snapshot().state if self._first is None else self._first
            self._picture = Picture(self.model, self._mirrored(first), self.view)
        return self._picture

    def close(self) -> None:
        if self._picture is not None:
            self._picture.close()
            self._picture = None
        self.backend.close()
        self._closed = True

    def _noisy(self, observation: Any) -> Any:
        scale = self.variant.observation_noise
        if scale == 0:
            return observation
        if isinstance(observation, dict):
            return {name: self._noisy(value) for name, value in observation.items()}
        value = np.asarray(observation)
        return (value + self._noise.normal(0.0, scale, value.shape)).astype(value.dtype)


def _twin(
    kind: type[Environment],
    task: Task,
    variant: Variant,
    render_mode: str | None,
    view: View,
    data: mujoco.MjData,
    own: dict[str, Any],
    hidden: Any,
) -> Environment:
    """A new environment that stands where another one stood, whose MjData this is.

    Raises:
        TelosError: the task has another model than the one that was copied.
    """
    twin = kind(task, variant, render_mode, view)
    try:
        for name in task.params:
            getattr(twin.model, name)[...] = getattr(data.model, name)
        if not np.array_equal(_bytes_of(twin.model), _bytes_of(data.model)):
            given = f"a model of {task.id!r} that is not the one its task makes"
            raise TelosError("copied environment", given, "the model as the task and its variant make it")
        mujoco.mj_copyData(twin.backend.data, twin.model, data)
        twin.backend.restore(hidden)
        vars(twin).update(copy.deepcopy(own))
    except BaseException:
        twin.close()
        raise
    return twin


def _bytes_of(model: mujoco.MjModel) -> np.ndarray:
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer
