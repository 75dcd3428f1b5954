"""A user's own MJCF model as a task, by one YAML file and no Python.

    model: arm.xml                       # relative to this file
    control_period: 0.02                 # s, or substeps: 4
    frames: 250                          # control steps per episode
    observation: [qpos, qvel, site_position/tip]
    alive: 1.0
    reward:
      - {signal: site_position/tip, reference: site_position/target, norm: l2, weight: 2.0}
      - {signal: ctrl, weight: 0.01}
    reset:
      joints: {shoulder: {qpos: [-0.5, 0.5], qvel: [-0.1, 0.1]}}
    termination:
      - {signal: joint_velocity/elbow, lower: -30, upper: 30}
    guardrails:
      - {kind: keep_out, …}

The reward of a step is `alive` minus the sum of the terms' costs (`envs.residuals.Residual`: weight ×
norm of a residual, as in MJPC). A `tolerance` term costs weight × (1 − tolerance), so that one of
weight 1 under `alive: 1` pays its tolerance, in [0,1]. All signals are those of the state that the
step leads to, forces those of its last substep; names are those of `envs.signals`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import mujoco
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from torch import Tensor

from envs import mjcf_file, signals
from envs.errors import TelosError, nearest
from envs.physics import INTEGRATION
from envs.requests import Request
from envs.residuals import Residual
from envs.signals import KINDS
from envs.task import Task, TaskParams
from envs.trajectory import Signals, Trajectory, no_doubt

_LAGGING = ("raw", "post_constraint")  # what an environment reads by accident; no one writes it down


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(_Closed):
    """Where a joint starts: drawn uniformly between two values, which may be equal."""

    qpos: tuple[FiniteFloat, FiniteFloat] | None = None  # rad or m; the keyframe's where None
    qvel: tuple[FiniteFloat, FiniteFloat] | None = None  # rad/s or m/s; the keyframe's where None

    @model_validator(mode="after")
    def _check(self) -> Range:
        for name, limits in (("qpos", self.qpos), ("qvel", self.qvel)):
            if limits is not None and limits[0] > limits[1]:
                raise ValueError(f"{name}: {limits[0]} is above {limits[1]}")
        return self


class Reset(_Closed):
    """How an episode starts."""

    keyframe: str | None = None  # the model's own default pose where None
    joints: dict[str, Range] = {}  # hinge or slide joint -> its range


class Bound(_Closed):
    """Ends the episode where the signal leaves [lower, upper], in any component, or is not finite."""

    signal: str
    component: Annotated[int, Field(ge=0)] | None = None  # all of them where None
    lower: FiniteFloat | None = None  # in the signal's unit
    upper: FiniteFloat | None = None  # in the signal's unit

    @model_validator(mode="after")
    def _check(self) -> Bound:
        if self.lower is None and self.upper is None:
            raise ValueError("lower, upper, or both are needed")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower {self.lower} is above upper {self.upper}")
        return self

    @property
    def request(self) -> Request:
        return _request(self.signal)

    def left(self, trajectory: Trajectory) -> Tensor:
        """Where a step ends outside, or a force is outside at any of its substeps; (N,H) bool."""
        name, recorded = self.signal, trajectory.signals
        value = recorded.interval[name] if name in recorded.interval else recorded.after(name)[:, :, None]
        if self.component is not None:
            value = value[..., self.component : self.component + 1]
        lower = -torch.inf if self.lower is None else self.lower
        upper = torch.inf if self.upper is None else self.upper
        inside = value.isfinite() & (value >= lower) & (value <= upper)
        return ~inside.flatten(2).all(-1)


class MjcfConfig(_Closed):
    """One YAML file."""

    model: str  # path of the MJCF file, relative to the YAML file
    control_period: Annotated[FiniteFloat, Field(gt=0)] | None = None  # s; or `substeps`
    substeps: Annotated[int, Field(ge=1)] | None = None  # physics steps per control step
    frames: Annotated[int, Field(ge=1)] = 1000  # control steps per episode
    observation: Annotated[tuple[str, ...], Field(min_length=1)] = ("qpos", "qvel")
    alive: FiniteFloat = 0.0  # reward of every step, before costs
    reward: tuple[Residual, ...] = ()
    reset: Reset = Reset()
    termination: tuple[Bound, ...] = ()
    guardrails: tuple[dict[str, Any], ...] = ()  # untouched; built by envs.guardrails.registry.build

    @model_validator(mode="after")
    def _check(self) -> MjcfConfig:
        if (self.control_period is None) == (self.substeps is None):
            raise ValueError("one of control_period and substeps is needed")
        return self

    @property
    def requests(self) -> tuple[Request, ...]:
        """What reward and termination read."""
        terms = [request for term in self.reward for request in term.requests]
        return tuple(dict.fromkeys([*terms, *(bound.request for bound in self.termination)]))


def _request(name: str) -> Request:
    kind, _ = signals.parse(name)
    return Request(name, "interval" if KINDS[kind].force else "state")


def parse(path: str | Path) -> MjcfConfig:
    """The checked content of a YAML file; its model is not opened.

    Raises:
        TelosError: FILE: key, what was given, what is allowed.
    """
    content = mjcf_file.read_yaml(path)
    try:
        return MjcfConfig.model_validate(content)
    except ValidationError as error:
        models = {"": MjcfConfig, "reward": Residual, "termination": Bound, "reset": Reset, "reset.joints": Range}
        raise mjcf_file.translated(path, content, error, models) from None


def load(path: str | Path) -> Task:
    """The task that a YAML file describes.

    Raises:
        TelosError: the file, its model, or a name in it is wrong.
    """
    config = parse(path)
    model_path = Path(path).parent / config.model
    spec = partial(mjcf_file.read_spec, path, model_path)
    substeps = _check_against_model(path, config, spec())
    return Task(
        id=str(path),
        backend=lambda: Mjcf(config, spec(), substeps),
        spec=spec,
        reward=partial(_reward, config),
        requests=config.requests,
        termination=partial(_termination, config) if config.termination else None,
    )


def _reward(config: MjcfConfig, trajectory: Trajectory, params: TaskParams) -> Tensor:
    total = torch.full(trajectory.actions.shape[:2], config.alive, dtype=torch.float64)
    for term in config.reward:
        total = total - term.step_cost(trajectory, params)
    return total


def _termination(config: MjcfConfig, trajectory: Trajectory, _: TaskParams) -> Tensor:
    return torch.stack([bound.left(trajectory) for bound in config.termination]).any(0)


def _check_against_model(path: str | Path, config: MjcfConfig, spec: mujoco.MjSpec) -> int:
    """Refuse what this model cannot do; return the substeps."""
    named: list[tuple[str, str]] = [(f"observation[{i}]", name) for i, name in enumerate(config.observation)]
    for i, term in enumerate(config.reward):
        named.append((f"reward[{i}].signal", term.signal))
        if term.reference is not None:
            named.append((f"reward[{i}].reference", term.reference))
    named += [(f"termination[{i}].signal", bound.signal) for i, bound in enumerate(config.termination)]
    requests = {}
    for key, name in named:
        requests[name] = _checked(f"{path}: {key}", spec, name, observed=key.startswith("observation"))
    signals.add_sensors(spec, requests.values())
    model = spec.compile()
    sizes = {r.request.name: r.size for r in signals.layout(model, requests.values())}
    for i, term in enumerate(config.reward):
        where = f"{path}: reward[{i}]"
        size = sizes[term.signal]
        if term.reference is not None and sizes[term.reference] not in (1, size):
            raise TelosError(f"{where}.reference", f"{sizes[term.reference]} components", f"{size} or 1")
        _check_component(f"{where}.component", term.component, size)
        size = size if term.component is None else 1
        if isinstance(term.target, tuple) and len(term.target) != size:
            raise TelosError(f"{where}.target", f"{len(term.target)} numbers", f"one, or {size}")
    for i, bound in enumerate(config.termination):
        _check_component(f"{path}: termination[{i}].component", bound.component, sizes[bound.signal])
    _check_actuators(path, model)
    _check_reset(path, config.reset, model)
    return _substeps(path, config, float(model.opt.timestep))


def _checked(where: str, spec: mujoco.MjSpec, name: str, observed: bool) -> Request:
    kind = name.split("/")[0]
    if kind in _LAGGING or kind not in KINDS:
        kinds = [known for known in KINDS if known not in _LAGGING]
        raise TelosError(where, repr(name), ", ".join(kinds), nearest(kind, kinds))
    if observed and KINDS[kind].force:
        raise TelosError(where, repr(name), "a signal of the state; a force belongs to a step")
    try:
        request = _request(name)
        signals.check(spec, request)
        probe = spec.copy()
        signals.add_sensors(probe, [request])
        signals.layout(probe.compile(), [request])
    except TelosError as error:
        raise TelosError(where, repr(name), error.allowed or "", error.nearest) from None
    except ValueError as error:  # MuJoCo's compiler
        raise TelosError(where, repr(name), f"a signal that MuJoCo can compute ({error})") from None
    return request


def _check_component(where: str, component: int | None, size: int) -> None:
    if component is not None and component >= size:
        raise TelosError(where, component, f"0 to {size - 1}")


def _check_actuators(path: str | Path, model: mujoco.MjModel) -> None:
    if model.nu == 0:
        raise TelosError(f"{path}: model", "no actuators", "one or more, each with a ctrlrange")
    for i in range(model.nu):
        if not model.actuator_ctrllimited[i]:
            name = model.actuator(i).name or str(i)
            raise TelosError(f"{path}: model, actuator {name!r}", "no ctrlrange", "a ctrlrange")


def _check_reset(path: str | Path, reset: Reset, model: mujoco.MjModel) -> None:
    keys = [model.key(i).name for i in range(model.nkey)]
    if reset.keyframe is not None and reset.keyframe not in keys:
        where, given = f"{path}: reset.keyframe", repr(reset.keyframe)
        raise TelosError(where, given, ", ".join(keys) or "none in this model", nearest(reset.keyframe, keys))
    scalar = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    joints = [model.joint(i).name for i in range(model.njnt) if int(model.jnt_type[i]) in scalar]
    for name in reset.joints:
        if name not in joints:
            where, allowed = f"{path}: reset.joints", ", ".join(joints) + " (hinge and slide joints)"
            raise TelosError(where, repr(name), allowed, nearest(name, joints))


def _substeps(path: str | Path, config: MjcfConfig, timestep: float) -> int:
    if config.substeps is not None:
        return config.substeps
    assert config.control_period is not None
    ratio = config.control_period / timestep
    if round(ratio) < 1 or abs(ratio - round(ratio)) > 1e-6:
        allowed = f"a multiple of the model's timestep, {timestep} s"
        raise TelosError(f"{path}: control_period", f"{config.control_period} s", allowed)
    return round(ratio)


class Mjcf:
    """The model stepped by plain `mj_step`, with signals read from its own MjData: no batch, no alignment."""

    def __init__(self, config: MjcfConfig, spec: mujoco.MjSpec, substeps: int) -> None:
        self._config = config
        observed = tuple(Request(name, "state") for name in config.observation)
        requests = tuple(dict.fromkeys([*config.requests, *observed]))
        signals.add_sensors(spec, requests)
        self.model: mujoco.MjModel = spec.compile()
        self.data = mujoco.MjData(self.model)
        self._mirror = mujoco.MjData(self.model)  # looks at a state without touching `data`
        self._state = np.empty(mujoco.mj_stateSize(self.model, INTEGRATION))
        readings = {reading.request: reading for reading in signals.layout(self.model, requests)}
        self._at_states = {r.name: readings[r] for r in requests if r.at == "state"}
        self._in_steps = {r.name: readings[r] for r in requests if r.at == "interval"}
        self.substeps = substeps
        self.frame_limit = config.frames
        self.action_low = self.model.actuator_ctrlrange[:, 0].copy()
        self.action_high = self.model.actuator_ctrlrange[:, 1].copy()
        width = sum(self._at_states[name].size for name in config.observation)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float64)

    def reset(self, seed: int) -> np.ndarray:
        rng, start, model, data = np.random.default_rng(seed), self._config.reset, self.model, self.data
        if start.keyframe is None:
            mujoco.mj_resetData(model, data)
        else:
            mujoco.mj_resetDataKeyframe(model, data, model.key(start.keyframe).id)
        for name, limits in start.joints.items():
            if limits.qpos is not None:
                data.joint(name).qpos[:] = rng.uniform(*limits.qpos)
            if limits.qvel is not None:
                data.joint(name).qvel[:] = rng.uniform(*limits.qvel)
        mujoco.mj_forward(model, data)  # for the renderer
        return self.observe()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        before = self._look()
        data = self.data
        data.warning.number[:] = 0
        data.ctrl[:] = action
        inside: dict[str, list[np.ndarray]] = {name: [] for name in self._in_steps}
        for _ in range(self.substeps):
            mujoco.mj_step(self.model, data)
            for name, reading in self._in_steps.items():
                inside[name].append(self._read(reading, data))
        after = self._look()
        recorded = Signals(
            {name: torch.from_numpy(np.stack([before[name], after[name]]))[None] for name in after},
            {name: torch.from_numpy(np.stack(values))[None, None] for name, values in inside.items()},
        )
        actions = torch.zeros(1, 1, self.model.nu, dtype=torch.float64)
        period = self.substeps * float(self.model.opt.timestep)
        trajectory = Trajectory(
            torch.empty(1, 2, 0), actions, recorded, torch.ones(1, dtype=torch.bool), no_doubt(actions), period
        )
        reward = float(_reward(self._config, trajectory, TaskParams()))
        ended = bool(self._config.termination) and bool(_termination(self._config, trajectory, TaskParams()))
        return self._observation(after), reward, ended or self._diverged()

    def observe(self) -> np.ndarray:
        return self._observation(self._look())

    def attributes(self, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        return {}

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
        columns = slice(reading.start, reading.start + reading.size)
        if reading.source == "control":
            return data.ctrl.copy()
        if reading.source == "state":
            return self._state[columns].copy()
        value = data.sensordata[columns].copy()
        return value * data.sensordata[reading.velocity_start] if reading.source == "power" else value

    def _diverged(self) -> bool:
        """MuJoCo puts a diverged simulation back to its default pose, and only warns."""
        bad = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)
        return any(self.data.warning[int(kind)].number for kind in bad)
