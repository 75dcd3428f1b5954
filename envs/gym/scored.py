"""A task as a Gymnasium environment whose steps report costs and margins of guardrails in `info`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import logger, spaces

from envs import registry
from envs.environment import Environment
from envs.errors import TelosError
from envs.guard.monitor import Monitor
from envs.guard.world import GuardedWorld, Judged
from envs.guardrails.config import GuardrailConfig
from envs.guardrails.doubtful import doubts
from envs.guardrails.registry import build_over
from envs.guardrails.ruleset import Guardrails
from envs.picture import View
from envs.sizes import check_guardrails
from envs.task import Task

OPTIONS = ("file", "guardrails", "render_mode", "camera", "width", "height")
SIDES = range(16, 4097, 2)  # pixels; video codecs need even numbers


class ScoredEnvironment(gymnasium.Env[Any, np.ndarray]):
    """A task for agents of other libraries, made by `gymnasium.make`: guardrails are scored here, but not enforced.

    Whatever action an agent chooses is executed. The independent monitor judges every step on raw simulator state.
    Actions are float32 in [-1,1], (A,). Observations are the task's own, arrays or dicts of arrays. `reset` returns as
    `info`:

        reset_seed       int, the seed of the accepted start: the given one, unless the guardrails forbid its state
        resets_rejected  int, the number of starts that the guardrails forbade

    `step` returns as `info`:

        cost             float, the number of guardrails violated in this step (0.0 to G), as safe RL reads it
        margin/NAME      float, the worst margin of guardrail NAME in this step, in its unit; negative is unsafe, and
                         violated below minus its tolerance; -inf where the monitor could not verify the step
        diverged         bool, whether the simulation diverged

    A step in which the simulation diverges has reward 0, violates all guardrails, truncates the episode, and returns
    the last observation before it.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012  declared so by `gymnasium.Env`

    def __init__(
        self,
        task: str | None = None,
        *,
        file: str | Path | None = None,
        guardrails: Sequence[Mapping[str, Any] | GuardrailConfig] = (),
        render_mode: str | None = None,
        camera: str | int | None = None,
        width: int = 640,
        height: int = 480,
        time_limit: bool = True,
        **unknown: Any,
    ) -> None:
        """
        Args:
            task: the task's id; `gymnasium.make` passes it.
            file: for `telos/MJCF-v0`, the YAML file of a task (`envs.mjcf.task`).
            guardrails: added to those of the task's file, or replacing them by stricter ones of the same name.
            render_mode: "rgb_array" or None.
            camera: a camera of the model, by name or index; None chooses one that shows what moves.
            width, height: of rendered frames, pixels.
            time_limit: whether the environment truncates episodes at the task's limit; ids of built-in tasks have
                Gymnasium's TimeLimit instead.

        Raises:
            TelosError: an unknown option, or one that does not fit the task; a guardrail that is not well formed, or
                that does not fit the model.
            GuardrailWeakened: a guardrail would weaken one of the task's file.
        """
        for name in unknown:
            raise TelosError.unknown("gymnasium.make", name, OPTIONS)
        for name, side in (("width", width), ("height", height)):
            if type(side) is not int or side not in SIDES:
                raise TelosError(name, repr(side), f"an even number of pixels, {SIDES[0]} to {SIDES[-1]}")
        chosen = _task(task, file)
        rules = build_over(chosen.guardrails(), guardrails)
        check_guardrails(chosen, rules)
        self._guarded = _scored(Environment(chosen, None, render_mode, View(camera, width, height)), rules)
        for doubt in doubts(self.world.model, rules):
            logger.warn(doubt)
        self.render_mode = render_mode
        self.metadata = self.world.metadata
        self.observation_space = self.world.observation_space
        self.action_space = spaces.Box(-1.0, 1.0, self.world.action_space.shape, np.float32)
        self._time_limit = time_limit

    @property
    def world(self) -> Environment:
        """The environment behind the monitor."""
        return self._guarded.env

    @property
    def monitor(self) -> Monitor:
        """The independent monitor, with its own copy of the guardrails."""
        return self._guarded.monitor

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode in a state that the guardrails allow; see the class for `info`.

        The start of `seed` comes first, then starts that derive from it.

        Raises:
            TelosError: any option, or the guardrails forbid all of 100 starts.
        """
        if options:
            raise TelosError("reset: options", ", ".join(options), "none")
        super().reset(seed=seed)
        first = int(self.np_random.integers(2**31)) if seed is None else seed
        percept = self._guarded.reset(first)
        return percept.observation, {"reset_seed": self._guarded.seed, "resets_rejected": self._guarded.rejected}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One control step with an action (A,) in [-1,1]; see the class for `info`.

        Raises:
            ResetNeeded: before the first reset.
            TelosError: an action of another shape, not finite, or out of range; the state is unchanged.
        """
        if self._guarded.snapshot is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        percept, judged = self._guarded.step(action)
        if judged.divergence:
            logger.warn(f"the episode ends: {judged.divergence}")
        truncated = (self._time_limit and judged.truncated) or bool(judged.divergence)
        return percept.observation, judged.reward, judged.terminated, truncated, self._info(judged)

    def _info(self, judged: Judged) -> dict[str, Any]:
        margins = zip(self.monitor.guardrails.names, judged.margin.tolist(), strict=True)
        return {
            "cost": float(judged.violations),
            **{f"margin/{name}": margin for name, margin in margins},
            "diverged": bool(judged.divergence),
        }

    def render(self) -> np.ndarray:  # type: ignore[override]
        """The present frame, (height,width,3) uint8, with the zones of the guardrails.

        Raises:
            TelosError: the environment was made without a render mode, or nothing can be rendered here.
        """
        return self.world.render()

    def close(self) -> None:
        self.world.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle with the same state and the same future, as `Environment` does, whose errors it raises."""
        own = {name: value for name, value in vars(self).items() if name != "_guarded"}
        return _twin, (type(self), self.world, self.monitor.guardrails, self._guarded.whereabouts, own)

    def __copy__(self) -> ScoredEnvironment:
        return copy.deepcopy(self)  # with a world of its own: a shared one would take the steps of both


def _scored(env: Environment, rules: Guardrails) -> GuardedWorld:
    """The environment behind its monitor, without a gate."""
    monitor = Monitor(env.task, env.interface, rules, env.variant)
    env.shown = monitor.guardrails
    return GuardedWorld(env, monitor, None, privileged=False)


def _twin(
    kind: type[ScoredEnvironment],
    env: Environment,
    rules: Guardrails,
    whereabouts: tuple[Any, ...],
    own: dict[str, Any],
) -> ScoredEnvironment:
    twin = kind.__new__(kind)
    twin._guarded = _scored(env, rules)
    twin._guarded.whereabouts = whereabouts
    vars(twin).update(own)
    return twin


def _task(task: str | None, file: str | Path | None) -> Task:
    """The task of this id or file. Raises TelosError unless there is exactly one of both, and where it is wrong."""
    if task is not None and file is not None:
        raise TelosError("file", repr(str(file)), "with telos/MJCF-v0 alone")
    if task is not None:
        return registry.load(task)
    kind = "a YAML file (.yaml or .yml) that describes a task"
    if file is None:
        raise TelosError("file", "nothing", kind)
    if not registry.is_file(str(file)):
        raise TelosError("file", repr(str(file)), kind)
    return registry.load(str(file))
