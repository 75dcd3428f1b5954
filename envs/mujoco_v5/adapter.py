"""Gymnasium's own MuJoCo v5 environment as a `Backend`, without its wrappers."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv

from envs.backup import BackUp
from envs.errors import TelosError, nearest
from envs.physics.batch import diverged_world, divergence_after
from envs.requests import Request
from envs.task import RewardFunction, Task, TerminationFunction

_SIMULATION = ("model", "data", "mujoco_renderer")  # attributes of Gymnasium's environment


class Gymnasium:
    """The environment that `gymnasium.make(id)` makes; `Environment` applies its time limit."""

    def __init__(self, id: str) -> None:
        wrapped = gymnasium.make(id)
        self._env = cast(MujocoEnv, wrapped.unwrapped)
        self.model: mujoco.MjModel = self._env.model
        self.data: mujoco.MjData = self._env.data
        self.substeps = int(self._env.frame_skip)
        assert wrapped.spec is not None
        assert wrapped.spec.max_episode_steps is not None
        self.frame_limit = wrapped.spec.max_episode_steps
        self.observation_space = self._env.observation_space
        # The model's range and not the action space's, because float32 would round 0.4 to a value outside it.
        self.action_low = self.model.actuator_ctrlrange[:, 0].copy()
        self.action_high = self.model.actuator_ctrlrange[:, 1].copy()

    def reset(self, seed: int) -> Any:
        return self._env.reset(seed=seed)[0]

    def step(self, action: np.ndarray) -> tuple[Any, float, bool]:
        self.data.warning.number[:] = 0
        observation, reward, terminated, _, _ = self._env.step(action)
        if reason := divergence_after(self.model, self.data):
            raise diverged_world(reason)
        return observation, float(reward), bool(terminated)

    def observe(self) -> Any:
        return cast(Any, self._env)._get_obs()

    def attributes(self, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        return {name: np.asarray(getattr(self._env, name), dtype=np.float64) for name in names}

    def hidden(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self._env).items() if name not in _SIMULATION}

    def restore(self, hidden: dict[str, Any]) -> None:
        vars(self._env).update(hidden)

    def close(self) -> None:
        self._env.close()


@cache
def _model_path(id: str) -> str:
    env = cast(MujocoEnv, gymnasium.make(id).unwrapped)
    env.close()
    return env.fullpath


def spec(id: str) -> mujoco.MjSpec:
    """A fresh spec from the XML file that the environment loads."""
    return mujoco.MjSpec.from_file(_model_path(id))


@cache
def _nominal(id: str) -> mujoco.MjModel:
    return spec(id).compile()


def body(id: str, name: str) -> int:
    """The row of a body in body-wise fields such as xpos."""
    return int(_nominal(id).body(name).id)


def masses(id: str) -> np.ndarray:
    """Each body's mass in the nominal model, kg (nbody,)."""
    return _nominal(id).body_mass


def gym_task(
    id: str,
    reward: RewardFunction,
    requests: tuple[Request, ...],
    *,
    termination: TerminationFunction | None = None,
    params: tuple[str, ...] = (),
    attributes: tuple[str, ...] = (),
    back_up: BackUp | None = None,
) -> Task:
    """A `Task` whose environment is Gymnasium's.

    Raises:
        TelosError: Gymnasium has no environment of this id.
    """
    if id not in gymnasium.registry:
        known = sorted(name for name in gymnasium.registry if name.endswith("-v5"))
        raise TelosError("gymnasium environment", repr(id), ", ".join(known), nearest(id, known))
    return Task(
        id=id,
        backend=lambda: Gymnasium(id),
        spec=lambda: spec(id),
        reward=reward,
        requests=requests,
        termination=termination,
        params=params,
        attributes=attributes,
        back_up=back_up,
    )
