"""dm_control.suite's own environment, through Shimmy, as a `Backend`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from dm_control import suite
from dm_control.rl.control import PhysicsError
from shimmy.dm_control_compatibility import DmControlCompatibilityV0

from envs.backup import BackUp
from envs.errors import Diverged
from envs.physics.batch import diverged_world
from envs.requests import Request
from envs.task import RewardBound, RewardFunction, Task, TerminationFunction

_COUNTERS = ("_step_count", "_reset_next_step")  # of dm_control's environment


class DmControl:
    """The environment that Shimmy registers as `dm_control/DOMAIN-TASK-v0`."""

    def __init__(self, domain: str, task: str) -> None:
        self._env = DmControlCompatibilityV0(suite.load(domain, task), render_mode="rgb_array")
        self._dm: Any = self._env._env
        self.model: mujoco.MjModel = self._dm.physics.model.ptr
        self.substeps = int(self._dm._n_sub_steps)
        self.frame_limit = round(self._dm._step_limit)
        # `Environment` applies the time limit. dm_control's own step after it would silently start another episode.
        self._dm._step_limit = float("inf")
        self.observation_space = self._env.observation_space
        bounds = self._dm.action_spec()
        self.action_low = np.broadcast_to(bounds.minimum, bounds.shape).astype(np.float64)
        self.action_high = np.broadcast_to(bounds.maximum, bounds.shape).astype(np.float64)

    @property
    def data(self) -> mujoco.MjData:
        return self._dm.physics.data.ptr

    def reset(self, seed: int) -> Any:
        try:
            return self._env.reset(seed=seed)[0]
        except PhysicsError as error:
            raise _diverged(error) from None

    def step(self, action: np.ndarray) -> tuple[Any, float, bool]:
        try:
            observation, reward, terminated, _, _ = self._env.step(action)
        except PhysicsError as error:
            raise _diverged(error) from None
        return observation, float(reward), bool(terminated)

    def observe(self) -> Any:
        from shimmy.utils.dm_env import dm_obs2gym_obs

        return dm_obs2gym_obs(self._dm.task.get_observation(self._dm.physics))

    def attributes(self, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        return {name: np.asarray(getattr(self._dm.task, name), dtype=np.float64) for name in names}

    def hidden(self) -> dict[str, Any]:
        counters = {name: getattr(self._dm, name) for name in _COUNTERS}
        return {"counters": counters, "task": dict(vars(self._dm.task))}

    def restore(self, hidden: dict[str, Any]) -> None:
        vars(self._dm).update(hidden["counters"])
        vars(self._dm.task).update(hidden["task"])

    def close(self) -> None:
        self._env.close()


def _diverged(error: PhysicsError) -> Diverged:
    """The error to raise where dm_control itself detected a diverged simulation."""
    return diverged_world(" ".join(str(error).split()))


def suite_task(
    domain: str,
    task: str,
    spec: Callable[[], mujoco.MjSpec],
    reward: RewardFunction,
    requests: tuple[Request, ...],
    *,
    termination: TerminationFunction | None = None,
    params: tuple[str, ...] = (),
    attributes: tuple[str, ...] = (),
    back_up: BackUp | None = None,
    reward_bound: RewardBound | None = None,
) -> Task:
    """A `Task` whose environment is dm_control's."""
    return Task(
        id=f"dm_control/{domain}-{task}-v0",
        backend=lambda: DmControl(domain, task),
        spec=spec,
        reward=reward,
        requests=requests,
        termination=termination,
        params=params,
        attributes=attributes,
        back_up=back_up,
        reward_bound=reward_bound,
    )


def xml_spec(xml: str | bytes, assets: dict[str, bytes]) -> mujoco.MjSpec:
    """The spec of a suite model, from the XML and assets that dm_control compiles."""
    text = xml.decode() if isinstance(xml, bytes) else xml
    included = {name.removeprefix("./"): value for name, value in assets.items() if name.endswith(".xml")}
    return mujoco.MjSpec.from_string(text, include=included, assets=assets)
