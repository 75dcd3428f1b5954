"""The start of an episode of a task file: a keyframe, and the values that every reset draws.

    reset:
      keyframe: home
      joints:
        shoulder: {qpos: [-0.5, 0.5], qvel: [-0.1, 0.1]}                         # hinge or slide
        cube: {pos: [[0.2, 0.4], [-0.1, 0.1], [0.05, 0.05]], yaw: [-3.1, 3.1]}   # free
      sites: {target: {pos: [[0.3, 0.5], [0, 0], [0.4, 0.6]]}}
      bodies: {post: {pos: [[0.2, 0.3], [-0.2, 0.2], [0, 0]], yaw: [0, 1.5]}}
      mocap: {hand: {pos: [[0, 0.1], [0, 0], [0.5, 0.5]]}}

Numbers are drawn uniformly and independently of each other. Poses of joints and mocap bodies are part of the physics
state. Poses of sites and other bodies are fields of the model. They belong to the task's params
(`envs.task.TaskParams`), which every snapshot carries to planner, gate and monitor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import mujoco
import numpy as np
from pydantic import BaseModel, BeforeValidator, model_validator

from envs.errors import TelosError, nearest
from envs.numbers import Number

Span = tuple[Number, Number]  # from, to; they may be equal
Spans = tuple[Span, Span, Span]  # along x, y, z


class Place(BaseModel, extra="forbid", frozen=True):
    """The pose of a frame: of a site in its body's frame, of a body in its parent's, of a mocap body in the world."""

    pos: Spans | None = None  # m; None keeps the model's own
    quat: tuple[Number, Number, Number, Number] | Literal["uniform"] | None = None
    """w x y z, or "uniform" over all orientations; None keeps the model's own."""
    yaw: Span | None = None  # rad, a rotation of that orientation about the z axis of the outer frame

    @model_validator(mode="after")
    def _check(self) -> Place:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name == "quat" or value is None:
                continue
            spans = {f"{name}[{i}]": span for i, span in enumerate(value)} if len(value) == 3 else {name: value}
            for where, (low, high) in spans.items():
                if low > high:
                    raise ValueError(f"{where}: {low} is above {high}")
        if isinstance(self.quat, tuple) and not 1e-6 < np.linalg.norm(self.quat) < 1e6:
            raise ValueError(f"quat: {self.quat} is no orientation")
        return self

    def put(self, rng: np.random.Generator, pos: np.ndarray, quat: np.ndarray) -> None:
        """Draw a pose and write it into pos (3,) and quat (4,)."""
        if self.pos is not None:
            pos[:] = _drawn(rng, self.pos)
        self.turn(rng, quat)

    def turn(self, rng: np.random.Generator, quat: np.ndarray) -> None:
        """Draw an orientation and write it into quat (4,)."""
        if self.quat is not None:
            chosen = rng.normal(size=4) if self.quat == "uniform" else np.array(self.quat)
            quat[:] = chosen / np.linalg.norm(chosen)
        if self.yaw is not None:
            half = 0.5 * rng.uniform(*self.yaw)
            before, after = np.array(quat), np.empty(4)
            mujoco.mju_mulQuat(after, np.array([np.cos(half), 0.0, 0.0, np.sin(half)]), before)
            quat[:] = after


class Range(Place, extra="forbid", frozen=True):
    """Position and velocity with which a joint starts; fields that are None keep the keyframe's values."""

    qpos: Span | None = None  # rad or m; hinge or slide
    qvel: Span | None = None  # rad/s or m/s; hinge or slide
    vel: Spans | None = None  # m/s, world; free
    angvel: Spans | None = None  # rad/s, in the body's frame; free or ball

    def start(self, rng: np.random.Generator, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Draw a joint's position and velocity and write them into qpos and qvel."""
        if self.qpos is not None:
            qpos[:] = rng.uniform(*self.qpos)
        if self.qvel is not None:
            qvel[:] = rng.uniform(*self.qvel)
        if self.pos is not None:
            qpos[:3] = _drawn(rng, self.pos)
        self.turn(rng, qpos[-4:])
        if self.vel is not None:
            qvel[:3] = _drawn(rng, self.vel)
        if self.angvel is not None:
            qvel[-3:] = _drawn(rng, self.angvel)


_KEYS = MappingProxyType(
    {
        mujoco.mjtJoint.mjJNT_HINGE: ("qpos", "qvel"),
        mujoco.mjtJoint.mjJNT_SLIDE: ("qpos", "qvel"),
        mujoco.mjtJoint.mjJNT_BALL: ("quat", "yaw", "angvel"),
        mujoco.mjtJoint.mjJNT_FREE: ("pos", "quat", "yaw", "vel", "angvel"),
    }
)
"""Joint type -> the keys that its `Range` may have."""


def _keyframe(given: Any) -> Any:
    whole = isinstance(given, int) and not isinstance(given, bool) and given >= 0
    if not (given is None or whole or (isinstance(given, str) and given)):
        raise ValueError("a keyframe's name, or its index from 0 on")
    return given


class Reset(BaseModel, extra="forbid", frozen=True):
    """How an episode starts."""

    keyframe: Annotated[int | str | None, BeforeValidator(_keyframe)] = None
    """Name or index of the keyframe; None is the model's default pose."""
    joints: dict[str, Range] = {}
    sites: dict[str, Place] = {}
    bodies: dict[str, Place] = {}  # bodies without a free joint that are not mocap bodies
    mocap: dict[str, Place] = {}

    @property
    def fields(self) -> tuple[str, ...]:
        """The MjModel fields that a reset writes."""
        sites = ("site_pos", "site_quat", "site_sameframe") if self.sites else ()
        return (*sites, *(("body_pos", "body_quat") if self.bodies else ()))

    def draw(
        self, rng: np.random.Generator, model: mujoco.MjModel, data: mujoco.MjData, compiled: Mapping[str, np.ndarray]
    ) -> None:
        """Set model and data to the start of an episode; `compiled` has the `fields` as they were before any reset."""
        if self.keyframe is None:
            mujoco.mj_resetData(model, data)
        else:
            mujoco.mj_resetDataKeyframe(model, data, model.key(self.keyframe).id)
        for name, limits in self.joints.items():
            joint = data.joint(name)
            limits.start(rng, joint.qpos, joint.qvel)
        for field, values in compiled.items():
            getattr(model, field)[...] = values
        for name, place in self.sites.items():
            site = model.site(name)
            # MuJoCo ignores pos and quat of a site whose compiled frame equals that of its body.
            model.site_sameframe[site.id] = int(mujoco.mjtSameFrame.mjSAMEFRAME_NONE)
            place.put(rng, site.pos, site.quat)
        for name, place in self.bodies.items():
            body = model.body(name)
            place.put(rng, body.pos, body.quat)
        for name, place in self.mocap.items():
            row = model.body(name).mocapid[0]
            place.put(rng, data.mocap_pos[row], data.mocap_quat[row])

    def check(self, path: str | Path, model: mujoco.MjModel) -> None:
        """Raises TelosError for names that the model of task file `path` lacks, or keys that do not fit an element."""
        where = f"{path}: reset"
        self._check_keyframe(f"{where}.keyframe", model)
        joints = {model.joint(i).name: i for i in range(model.njnt)}
        _check_names(f"{where}.joints", self.joints, joints)
        for name, limits in self.joints.items():
            kind = mujoco.mjtJoint(int(model.jnt_type[joints[name]]))
            for key in sorted(limits.model_fields_set - set(_KEYS[kind])):
                given = f"a {kind.name.removeprefix('mjJNT_').lower()} joint"
                raise TelosError(f"{where}.joints.{name}.{key}", given, f"for such a joint {', '.join(_KEYS[kind])}")
        _check_names(f"{where}.sites", self.sites, (model.site(i).name for i in range(model.nsite)))
        mocap = [model.body(i).name for i in range(model.nbody) if model.body_mocapid[i] >= 0]
        _check_names(f"{where}.mocap", self.mocap, mocap)
        _check_names(f"{where}.bodies", self.bodies, (model.body(i).name for i in range(1, model.nbody)))
        for name in self.bodies:
            if name in mocap:
                raise TelosError(f"{where}.bodies", f"{name!r}, a mocap body", f"reset.mocap: {{{name}: …}}")
            first = int(model.body(name).jntadr[0])
            if first >= 0 and model.jnt_type[first] == mujoco.mjtJoint.mjJNT_FREE:
                joint = model.joint(first).name or "the name of its joint, which has none"
                raise TelosError(f"{where}.bodies", f"{name!r}, a free body", f"reset.joints: {{{joint}: …}}")

    def _check_keyframe(self, where: str, model: mujoco.MjModel) -> None:
        keys = [name for i in range(model.nkey) if (name := model.key(i).name)]
        known = self.keyframe < model.nkey if isinstance(self.keyframe, int) else self.keyframe in (None, *keys)
        if not known:
            names = [*keys, f"an index from 0 to {model.nkey - 1}"] if model.nkey else ["none in this model"]
            raise TelosError(where, repr(self.keyframe), names, nearest(self.keyframe, keys))


def _check_names(where: str, given: Iterable[str], there: Iterable[str]) -> None:
    """Raises TelosError for a name that the model lacks."""
    named = [name for name in there if name]
    for name in given:
        if name not in named:
            raise TelosError.unknown(where, name, named)


def _drawn(rng: np.random.Generator, spans: Spans) -> np.ndarray:
    low, high = np.transpose(spans)
    return rng.uniform(low, high)
