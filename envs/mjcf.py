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

import mujoco
from pydantic import ValidationError

from envs import mjcf_file, signals
from envs.errors import TelosError, nearest
from envs.mjcf_backend import Mjcf
from envs.mjcf_config import Bound, MjcfConfig, Range, Reset, request
from envs.requests import Request
from envs.residuals import Residual
from envs.signals import KINDS
from envs.task import Task

_LAGGING = ("raw", "post_constraint")  # what an environment reads by accident; no one writes it down


def parse(path: str | Path) -> MjcfConfig:
    """The checked content of a YAML file; its model is not opened.

    Raises:
        TelosError: FILE: key, what was given, what is allowed.
    """
    content = mjcf_file.read_yaml(path)
    try:
        return MjcfConfig.model_validate(content)
    except ValidationError as error:
        models = {
            "": MjcfConfig,
            "reward": Residual,
            "termination": Bound,
            "reset": Reset,
            "reset.joints": Range,
        }
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
        reward=config.rewards,
        requests=config.requests,
        termination=config.ends if config.termination else None,
    )


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
        wanted = request(name)
        signals.check(spec, wanted)
        probe = spec.copy()
        signals.add_sensors(probe, [wanted])
        signals.layout(probe.compile(), [wanted])
    except TelosError as error:
        raise TelosError(where, repr(name), error.allowed or "", error.nearest) from None
    except ValueError as error:  # MuJoCo's compiler
        raise TelosError(where, repr(name), f"a signal that MuJoCo can compute ({error})") from None
    return wanted


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
