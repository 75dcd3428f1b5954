"""An agent's imagined future as paths in space."""

from __future__ import annotations

from collections.abc import Iterable

import mujoco
import numpy as np
from torch import Tensor

from agent import build
from agent.config.config import Config
from envs.camera import traveller
from envs.environment import Environment
from envs.physics import signals
from envs.physics.batch import INTEGRATION
from envs.requests import POINTS, Request
from envs.trajectory import home
from worldmodels.belief import Belief

MOVED = 1e-3  # m; shorter paths are not drawn


class Tracer:
    """Imagines published plans again to draw their paths.

    It uses its own world model, because the agent's counts the steps that it simulates. There is a path for each moving
    site, body or geom whose position or distance the cost or a guardrail reads. If there is none, there is one path:
    that of the centre of mass of the body that travels through the world, or else of the body that moves most.
    """

    def __init__(self, config: Config, env: Environment, requests: Iterable[Request]) -> None:
        """
        Args:
            config: of the run. If the agent plans for several variants of the physics, the nominal one is imagined.
            env: the world that is shown.
            requests: the signals that cost and guardrails read.

        Raises:
            TelosError: the world model does not exist.
        """
        alone = {} if not config.world_model.variants else {"variants": ()}
        nominal = config.world_model.model_copy(update=alone)
        self._model = build.world_model(config.model_copy(update={"world_model": nominal}), env.task, env.interface)
        self._env = env
        self._data = mujoco.MjData(env.model)
        self._points = tuple(dict.fromkeys(_points(env.model, requests)))

    def paths(self, start: Belief, actions: Tensor) -> tuple[np.ndarray, ...]:
        """One path (H+1,3) in m for every point that a plan (H,A) moves.

        Of a model that starts from observations, these are the positions among the signals that it predicts. Empty if
        the plan's simulation diverges, or the world model predicts neither.
        """
        future = self._model.imagine(start, actions[None], states=True)
        if self._model.starts_from == "observation":
            told = future.signals.state
            return tuple(home(told[name])[0].numpy() for name in told if signals.parse(name)[0] in POINTS)
        states = future.states[0].numpy()
        if not bool(future.valid) or states.shape[1] != mujoco.mj_stateSize(self._env.model, INTEGRATION):
            return ()
        points = self._points or tuple(("xipos", body) for body in range(1, self._env.model.nbody))
        places = np.array([self._places(state, points) for state in states])  # (H+1,P,3)
        lengths = np.linalg.norm(np.diff(places, axis=0), axis=2).sum(0)
        if not self._points and lengths.max(initial=0.0) >= MOVED:
            driven = traveller(self._env.model, self._env.backend.data)
            self._points = (points[int(lengths.argmax())] if driven is None else ("xipos", driven),)
            return self.paths(start, actions)
        return tuple(places[:, index] for index in np.flatnonzero(lengths >= MOVED))

    def _places(self, state: np.ndarray, points: Iterable[tuple[str, int]]) -> np.ndarray:
        mujoco.mj_setState(self._env.model, self._data, state, INTEGRATION)
        mujoco.mj_kinematics(self._env.model, self._data)
        return np.array([getattr(self._data, field)[row] for field, row in points])


# Kind of object in a signal's name -> the field of MjData with its position.
_FIELDS = {"body": "xpos", "inertial": "xipos", "site": "site_xpos", "geom": "geom_xpos"}


def _points(model: mujoco.MjModel, requests: Iterable[Request]) -> Iterable[tuple[str, int]]:
    """The points on moving bodies on which these signals depend, each as a field of MjData and a row of it."""
    for request in requests:
        kind, objects = signals.parse(request.name)
        if kind == "zone_distance":
            kind, objects = signals.parse(objects[1])
        what, _, quantity = kind.rpartition("_")
        if what not in _FIELDS or quantity not in ("position", "distance"):
            continue
        for name in objects:
            element = model.body(name) if what in ("body", "inertial") else getattr(model, what)(name)
            body = element.id if what in ("body", "inertial") else int(element.bodyid[0])
            if model.body_weldid[body] != 0:
                yield _FIELDS[what], int(element.id)
