"""Tasks from a user's own MJCF model and one YAML file, without Python.

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
      sites: {target: {pos: [[0.3, 0.5], [0, 0], [0.4, 0.6]]}}     # and more: envs.mjcf.reset
    termination:
      - {signal: joint_velocity/elbow, lower: -30, upper: 30}
    guardrails:
      - {kind: keep_out, …}
    back_up: {seconds: 1.0, rest_speed: 0.05, gain: 2.0}
    camera: side                         # of videos
    zones:
      pillar: {shape: cylinder, center: [0.5, 0.0, 0.3], radius: 0.1, height: 0.6}

The reward of a step is `alive` minus the sum of the terms' costs (`envs.residuals.Residual`: weight × norm of a
residual, as in MJPC). A `tolerance` term costs weight × (1 − tolerance). So under `alive: 1`, the reward of a term of
weight 1 is its tolerance, in [0,1]. Signals are read at the state after the step, forces at its last substep. Their
names are those of `envs.physics.signals`.
"""

from __future__ import annotations

import math
import os
from copy import deepcopy
from functools import partial
from pathlib import Path

import mujoco
from pydantic import ValidationError

from envs import camera
from envs.backup_config import BackUpConfig
from envs.controls import check_controls
from envs.errors import TelosError
from envs.flags import check_flags
from envs.mjcf import file as mjcf_file
from envs.mjcf.backend import Mjcf
from envs.mjcf.config import Bound, MjcfConfig
from envs.mjcf.parts import parts
from envs.mjcf.reset import Place, Range, Reset
from envs.physics import signals
from envs.physics.batch import MAX_SUBSTEPS
from envs.residuals import Residual
from envs.sizes import check_component, check_residuals, readable, sizes
from envs.task import Task
from envs.zones import Box, declared


def parse(path: str | Path) -> MjcfConfig:
    """The validated content of a YAML file; its model is not opened.

    Raises:
        TelosError: a wrong file; the message has the file, the key, what was given and what is allowed.
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
            "reset.sites": Place,
            "reset.bodies": Place,
            "reset.mocap": Place,
            "back_up": BackUpConfig,
            "zones": Box,
        }
        raise mjcf_file.translated(path, content, error, models) from None


def load(path: str | Path) -> Task:
    """The task that a YAML file describes.

    Raises:
        TelosError: the file, its model, or a name in it is wrong.
    """
    config = parse(path)
    model_path = _model_path(path, config)
    model = mjcf_file.examined_model(path, model_path)
    spec = declared(partial(mujoco.MjSpec.from_file, str(model_path)), config.zones, f"{path}: zones")
    substeps = _check_against_model(path, config, spec(), model)
    return Task(
        id=str(path),
        backend=lambda: Mjcf(config, spec(), substeps),
        spec=spec,
        reward=config.rewards,
        requests=config.requests,
        termination=config.ends if config.termination else None,
        params=config.reset.fields,
        camera=config.camera,
        back_up=None if config.back_up is None else config.back_up.back_up,
        guardrails=lambda: deepcopy(config.guardrails),
    )


def located(path: str | Path) -> Path:
    """The absolute path of a task file, relative to which its model is found.

    A symbolic link is kept where the model exists relative to the link, and followed otherwise.

    Raises:
        TelosError: a link to a file that does not describe a task.
    """
    link = Path(os.path.realpath(Path(path).parent), Path(path).name)
    if not link.is_symlink() or (link.parent / parse(link).model).exists():
        return link
    return Path(os.path.realpath(link))


def files(path: str | Path) -> tuple[Path, ...]:
    """The task file, then its model and every file that MuJoCo may open for it (`envs.mjcf.parts`); absolute paths.

    Raises:
        TelosError: the task file is wrong, or one of the files is missing or not a regular file.
    """
    model_path = _model_path(path, parse(path))
    mjcf_file.check_file(f"{path}: model", model_path, "an MJCF file (XML)")
    return located(path), *parts(f"{path}: model", model_path)


def _model_path(path: str | Path, config: MjcfConfig) -> Path:
    return located(path).parent / config.model


def _check_against_model(path: str | Path, config: MjcfConfig, spec: mujoco.MjSpec, model: mujoco.MjModel) -> int:
    """Refuse a configuration that does not fit this model; return the substeps."""
    check_flags(f"{path}: model", model)
    check_controls(f"{path}: model", model)
    substeps = _substeps(path, config, float(model.opt.timestep))
    observed = {f"{path}: observation[{i}]": name for i, name in enumerate(config.observation)}
    bounded = {f"{path}: termination[{i}].signal": bound.signal for i, bound in enumerate(config.termination)}
    found = sizes(spec, {where: readable(where, name) for where, name in {**observed, **bounded}.items()})
    for where, name in observed.items():
        if signals.request(name).at == "interval":
            raise TelosError(where, repr(name), "a signal of the state; a force belongs to a step")
    check_residuals(spec, config.reward, f"{path}: reward")
    for i, bound in enumerate(config.termination):
        where = f"{path}: termination[{i}]"
        check_component(f"{where}.component", bound.component, found[f"{where}.signal"])
    config.reset.check(path, model)
    camera.check(model, config.camera, f"{path}: camera")
    if config.back_up is not None:
        joints = [name for i in range(model.njnt) if (name := model.joint(i).name)]
        for name in config.back_up.joints:
            if name not in joints:
                raise TelosError.unknown(f"{path}: back_up.joints", name, joints)
    return substeps


def _substeps(path: str | Path, config: MjcfConfig, timestep: float) -> int:
    if not 0 < timestep < math.inf:
        raise TelosError(f"{path}: model", f"a timestep of {timestep} s", "a timestep above 0 s")
    if config.substeps is not None:
        if config.substeps > MAX_SUBSTEPS:
            raise TelosError(f"{path}: substeps", config.substeps, f"1 to {MAX_SUBSTEPS}")
        return config.substeps
    assert config.control_period is not None
    ratio = config.control_period / timestep
    if not 0.5 < ratio < MAX_SUBSTEPS + 0.5 or abs(ratio - round(ratio)) > 1e-6:
        allowed = f"a multiple of the model's timestep, {timestep} s, by 1 to {MAX_SUBSTEPS}"
        raise TelosError(f"{path}: control_period", f"{config.control_period} s", allowed)
    return round(ratio)
