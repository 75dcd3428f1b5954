"""The environment in which an agent acts: a `gymnasium.Env` with actions in [-1,1] and snapshots of its state."""

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

ROUNDING = 1e-6  # by which float32 and scaling may exceed [-1,1]
# Attributes that the constructor of a copy makes anew.
_REMADE = ("task", "variant", "render_mode", "view", "backend", "interface", "_picture", "_mirror")

ONE_COORDINATE = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))  # types of joints


class Environment(gymnasium.Env[Any, np.ndarray]):
    """The task's real environment, with its original reward and observation."""

    def __init__(
        self,
        task: Task,
        variant: Variant | None = None,
        render_mode: str | None = None,
        view: View | None = None,
    ) -> None:
        """
        Args:
            task: the task whose environment this is.
            variant: how its physics differ from the model's.
            render_mode: "rgb_array" to use `render` and `show`.
            view: camera and size of the rendered frames.

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
        # Resets write nominal values. So these fields are nominal during a reset, and varied afterwards.
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
        self._first: np.ndarray | None = None  # (S,), the state after the first reset; the camera is chosen from it
        self._mirror: mujoco.MjData | None = None  # for showing a state without changing the environment's own MjData
        self.shown = Guardrails()  # rendered frames show the zones of these guardrails

    @property
    def model(self) -> mujoco.MjModel:
        """The real model; do not write to it."""
        return self.backend.model

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; without a seed, the environment's random generator draws one."""
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
        """One control step with an action (A,) in [-1,1]; up to 1e-6 outside, as by rounding, it is clipped.

        Raises:
            TelosError: an action of another shape, not finite, or out of range; the state is unchanged.
            Diverged: the simulation diverged; the environment's state is meaningless until the next reset.
        """
        action = np.array(action, dtype=np.float64)  # a copy, because under latency it waits in the queue
        if action.shape != self.action_space.shape:
            raise TelosError("action", f"shape {action.shape}", f"shape {self.action_space.shape}")
        wrong = np.flatnonzero(~(np.abs(action) <= 1 + ROUNDING))  # negated, because comparisons with NaN are False
        if len(wrong):
            raise TelosError(f"action[{wrong[0]}]", action[wrong[0]], "a finite number in [-1, 1]")
        self._queue.append(action.clip(-1, 1))
        native = self.interface.native(self._queue.pop(0))
        observation, reward, terminated = self.backend.step(native)
        self._frames += 1
        truncated = self._frames >= self.interface.frame_limit
        return self._noisy(observation), reward, terminated, truncated, {}

    def snapshot(self) -> Snapshot:
        """A copy of the integration state and of the values that the reset chose."""
        state = np.empty(mujoco.mj_stateSize(self.model, INTEGRATION))
        mujoco.mj_getState(self.model, self.backend.data, state, INTEGRATION)
        state.flags.writeable = False
        return Snapshot(state, self._params())

    def still(self) -> tuple[Any, Snapshot]:
        """The observation and the state of this pose if nothing moved; `reset` must follow.

        Velocities become 0. A limited joint that was pressed beyond its stop is put back to it, as it would not stay.
        """
        data, model = self.backend.data, self.model
        data.qvel[:] = 0
        for joint in np.flatnonzero(model.jnt_limited):
            if int(model.jnt_type[joint]) in ONE_COORDINATE:
                at = model.jnt_qposadr[joint]
                data.qpos[at] = np.clip(data.qpos[at], *model.jnt_range[joint])
        mujoco.mj_forward(self.model, self.backend.data)
        return self._noisy(self.backend.observe()), self.snapshot()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a new environment of the same task, in the same state, with the same future.

        Raises:
            TelosError: the environment is closed, its backend cannot be copied, or, for a pickle, the task was not made
                from its id.
        """
        if self._closed:
            raise TelosError("copy of an environment", "one that is closed", "one that is open")
        if not hasattr(self.backend, "hidden"):  # a backend of another package, made for an older telos
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
        """Render any state (S,) of this episode as `render` does, with paths (H+1,3) in m drawn into the frame.

        The environment's own state does not change. Raises as `render`.
        """
        self._camera()  # first, because choosing a camera writes another state into the same mirror
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
    """A new environment in the state of the copied one, whose MjData is `data`.

    Raises:
        TelosError: the task makes another model than the copied one.
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
