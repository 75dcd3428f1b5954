"""The environment of a user's own model: plain `mj_step`, and signals read from its own MjData."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch

from envs.errors import TelosError
from envs.mjcf.config import MjcfConfig
from envs.physics import signals
from envs.physics.batch import INTEGRATION, diverged_world, divergence_after
from envs.physics.compiler import compiled
from envs.requests import Request
from envs.task import TaskParams
from envs.trajectory import Signals, Trajectory, no_doubt


@contextmanager
def _simulated() -> Iterator[None]:
    """Turn MuJoCo's errors, such as an arena too small for the contacts, into Diverged."""
    try:
        yield
    except mujoco.FatalError as error:
        raise diverged_world(" ".join(str(error).split())) from None


class Mjcf:
    """The model, stepped by plain `mj_step`, with signals read from its own MjData: no batch, no alignment."""

    def __init__(self, config: MjcfConfig, spec: mujoco.MjSpec, substeps: int) -> None:
        self._config = config
        observed = tuple(Request(name, "state") for name in config.observation)
        requests = tuple(dict.fromkeys([*config.requests, *observed]))
        signals.add_sensors(spec, requests)
        self.model: mujoco.MjModel = compiled(spec)
        self.data = mujoco.MjData(self.model)
        self._compiled = {name: np.array(getattr(self.model, name)) for name in config.reset.fields}
        self._mirror = mujoco.MjData(self.model)  # computes signals without changing `data`
        self._state = np.empty(mujoco.mj_stateSize(self.model, INTEGRATION))
        readings = {reading.request: reading for reading in signals.layout(self.model, requests)}
        self._at_states = {r.name: readings[r] for r in requests if r.at == "state"}
        self._in_steps = {r.name: readings[r] for r in requests if r.at == "interval"}
        self.substeps = substeps
        self.frame_limit = config.frames
        self.action_low = self.model.actuator_ctrlrange[:, 0].copy()
        self.action_high = self.model.actuator_ctrlrange[:, 1].copy()
        width = sum(self._at_states[name].size for name in config.observation)
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float64)

    def reset(self, seed: int) -> np.ndarray:
        self._config.reset.draw(np.random.default_rng(seed), self.model, self.data, self._compiled)
        with _simulated():
            mujoco.mj_forward(self.model, self.data)  # for the renderer
            return self.observe()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        before = self._look()
        data = self.data
        data.warning.number[:] = 0
        data.ctrl[:] = action
        inside: dict[str, list[np.ndarray]] = {name: [] for name in self._in_steps}
        with _simulated():
            for _ in range(self.substeps):
                mujoco.mj_step(self.model, data)
                for name, reading in self._in_steps.items():
                    inside[name].append(self._read(reading, data))
            if reason := divergence_after(self.model, data):
                raise diverged_world(reason)
            after = self._look()
        recorded = Signals(
            {name: torch.from_numpy(np.stack([before[name], after[name]]))[None] for name in after},
            {name: torch.from_numpy(np.stack(values))[None, None] for name, values in inside.items()},
        )
        actions = torch.zeros(1, 1, self.model.nu, dtype=torch.float64)
        period = self.substeps * float(self.model.opt.timestep)
        trajectory = Trajectory(
            torch.empty(1, 2, 0),
            actions,
            recorded,
            torch.ones(1, dtype=torch.bool),
            no_doubt(actions),
            period,
        )
        reward = float(self._config.rewards(trajectory, TaskParams()))
        ended = bool(self._config.ends(trajectory, TaskParams()))
        return self._observation(after), reward, ended

    def observe(self) -> np.ndarray:
        return self._observation(self._look())

    def attributes(self, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        return {}

    def hidden(self) -> MjcfConfig:
        """The configuration, because a copy must have the same reward: the task file may have changed since."""
        return self._config

    def restore(self, hidden: MjcfConfig) -> None:
        if hidden != self._config:
            raise TelosError("copied environment", "a task file that has changed since", "the file as it was")

    def close(self) -> None:
        pass

    def _observation(self, values: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([values[name] for name in self._config.observation])

    def _look(self) -> dict[str, np.ndarray]:
        """The signals at the present state."""
        mujoco.mj_getState(self.model, self.data, self._state, INTEGRATION)
        mujoco.mj_setState(self.model, self._mirror, self._state, INTEGRATION)
        mujoco.mj_forward(self.model, self._mirror)
        return {name: self._read(reading, self._mirror) for name, reading in self._at_states.items()}

    def _read(self, reading: signals.Reading, data: mujoco.MjData) -> np.ndarray:
        if reading.source == "control":
            return data.ctrl.copy()
        if reading.source == "state":
            return self._state[reading.columns].copy()
        if reading.source == "power":
            return reading.power(data.sensordata)
        return reading.value(data.sensordata[reading.columns].copy()).numpy()
