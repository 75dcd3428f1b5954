"""Chooses the camera of a picture: the requested one, or one that shows what moves."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from envs.errors import TelosError, nearest

AUTOMATIC = "auto"  # requests a computed camera, even where the model has cameras
SEEN = 0.0005  # the smallest share of a picture's pixels that must show moving parts
GOOD = 0.1  # fraction of the best such share among a group's cameras: the first camera that reaches it is chosen
OWN = 0.5  # the same, among the directions of a computed camera
TURNS = ((0, -20), (90, -20), (0, -45), (0, -80))  # deg, azimuth relative to the model's own and elevation, in order

Seen = Callable[[mujoco.MjvCamera], float]
"""The share of a camera's pixels that show moving parts."""


def check(model: mujoco.MjModel, asked: str | int | None, where: str = "camera") -> None:
    """Raises TelosError for a camera, requested at `where`, that the model lacks."""
    names = [model.cam(i).name for i in range(model.ncam)]
    if asked is None or (asked in (*names, AUTOMATIC) and asked != ""):
        return
    if not isinstance(asked, int) or not 0 <= asked < model.ncam:
        options = [*(name for name in names if name), AUTOMATIC]
        indices = f", or 0 to {model.ncam - 1}" if model.ncam else ""
        raise TelosError(where, repr(asked), ", ".join(options) + indices, nearest(asked, options))


def of(model: mujoco.MjModel, data: mujoco.MjData, asked: str | int | None, seen: Seen) -> mujoco.MjvCamera:
    """The camera of this name or index; without a request, one that shows what moves in this state.

    That is a tracking camera where the heaviest actuated tree can travel, otherwise preferably a static one. A camera
    mounted on a moving body is never chosen, because it does not show that body.
    """
    if isinstance(asked, int):
        return _fixed(asked)
    if asked is not None and (index := mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, asked)) >= 0:
        return _fixed(index)
    follows, stands = _cameras(model)
    body = traveller(model, data)
    for group in () if asked == AUTOMATIC else (follows,) if body is not None else (stands, follows):
        views = [(_fixed(index), seen(_fixed(index))) for index in group]
        best = max((share for _, share in views), default=0.0)
        if best >= SEEN:
            return next(camera for camera, share in views if share >= GOOD * best)
    return _automatic(model, data, seen, body)


def moving(model: mujoco.MjModel) -> np.ndarray:
    """Which geoms are on bodies that joints move, (ngeom,) bool."""
    return model.body_weldid[model.geom_bodyid] != 0


def _cameras(model: mujoco.MjModel) -> tuple[list[int], list[int]]:
    """The indices of the tracking cameras, and of the static ones."""
    modes = mujoco.mjtCamLight
    follow = (int(modes.mjCAMLIGHT_TRACK), int(modes.mjCAMLIGHT_TRACKCOM))
    follows = [i for i in range(model.ncam) if model.cam_mode[i] in follow]
    carried = model.body_weldid[model.cam_bodyid] != 0
    stands = [i for i in range(model.ncam) if i not in follows and not carried[i]]
    return follows, stands


def traveller(model: mujoco.MjModel, data: mujoco.MjData) -> int | None:
    """The root body of the heaviest actuated tree, if it has a free joint or an endless slide; otherwise None."""
    driven = set(model.body_rootid[model.dof_bodyid[data.moment_colind]].tolist())
    if not driven:
        return None
    body = max(sorted(driven), key=lambda root: float(model.body_subtreemass[root]))
    first, number = int(model.body_jntadr[body]), int(model.body_jntnum[body])
    slide, free = int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_FREE)
    types = model.jnt_type
    travels = (
        types[i] == free or (types[i] == slide and _endless(model, i)) for i in range(first, first + max(number, 0))
    )
    return body if any(travels) else None


def _endless(model: mujoco.MjModel, joint: int) -> bool:
    """Whether a joint has neither limits nor a spring."""
    return not model.jnt_limited[joint] and model.jnt_stiffness[joint] == 0


def _automatic(model: mujoco.MjModel, data: mujoco.MjData, seen: Seen, body: int | None) -> mujoco.MjvCamera:
    """A computed camera around what moves, in the first direction that shows enough of it.

    Args:
        body: the body to track; None for a static camera.
    """
    low, high = _extent(model, data, body)
    radius = float((high - low).max()) / 2
    views = []
    for azimuth, elevation in _directions(model, data):
        camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(model, camera)
        if radius > 0:
            camera.lookat[:] = (low + high) / 2
            camera.distance = 1.2 * radius / np.tan(np.radians(model.vis.global_.fovy / 2))
        if body is not None:
            camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, body  # type: ignore[assignment]
        camera.azimuth, camera.elevation = azimuth, elevation
        views.append((camera, seen(camera)))
    best = max(share for _, share in views)
    return next(camera for camera, share in views if share >= OWN * best)


def _directions(model: mujoco.MjModel, data: mujoco.MjData) -> list[tuple[float, float]]:
    """Candidate azimuths and elevations, deg, best first: perpendicular to the joints' plane of motion, if any."""
    types = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
    hinges, slides = (data.xaxis[model.jnt_type == int(kind)] for kind in types)
    own = float(model.vis.global_.azimuth)
    turns = [(own + turn, float(elevation)) for turn, elevation in TURNS]
    if len(hinges) + len(slides) < model.njnt or model.njnt == 0:
        return turns
    # A hinge moves perpendicular to its axis, a slide along it.
    sizes, axes = np.linalg.eigh(hinges.T @ hinges - slides.T @ slides)
    normal = axes[:, -1]
    if sizes[-1] - sizes[-2] < 0.5 * max(1, len(hinges)):
        return turns
    if abs(normal[2]) > 0.7:
        return [(own, -75.0), *turns]
    azimuth = float(np.degrees(np.arctan2(normal[1], normal[0])))
    nearest_turn = (azimuth - own + 90) % 180 - 90  # from either side, whichever is nearer to the model's own view
    return [(own + nearest_turn, -15.0), *turns]


def _extent(model: mujoco.MjModel, data: mujoco.MjData, body: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Two corners of a box, m, around the geoms of a body's tree, or around moving geoms and most of their reach."""
    corners = [np.full(3, np.inf), np.full(3, -np.inf)]
    some = moving(model) & (model.geom_rbound > 0)
    roots = model.body_rootid[model.geom_bodyid]
    most = 0.5 * float(model.stat.extent)  # m, the most travel along a slide that counts, whatever its limits
    for root in sorted(set(roots[some].tolist())) if body is None else [body]:
        geoms = some & (roots == root)
        if not geoms.any():
            continue
        places, radii = data.geom_xpos[geoms], model.geom_rbound[geoms, None]
        low, high = (places - radii).min(0), (places + radii).max(0)
        joints = [i for i in range(model.njnt) if model.body_rootid[model.jnt_bodyid[i]] == root]
        free = any(model.jnt_type[i] == int(mujoco.mjtJoint.mjJNT_FREE) for i in joints)
        if body is None and not free:
            anchor = data.xanchor[joints[0]]
            reach = 0.8 * (np.linalg.norm(places - anchor, axis=1) + radii[:, 0]).max()
            low, high = np.minimum(low, anchor - reach), np.maximum(high, anchor + reach)
            for joint in joints:
                if model.jnt_type[joint] == int(mujoco.mjtJoint.mjJNT_SLIDE) and model.jnt_limited[joint]:
                    way = model.jnt_range[joint] - data.qpos[model.jnt_qposadr[joint]]
                    ends = np.outer(way.clip(-most, most), data.xaxis[joint])
                    low, high = low + np.minimum(ends.min(0), 0), high + np.maximum(ends.max(0), 0)
        corners = [np.minimum(corners[0], low), np.maximum(corners[1], high)]
    if not np.isfinite(corners).all():
        return np.zeros(3), np.zeros(3)
    return corners[0], corners[1]


def _fixed(index: int) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED  # type: ignore[assignment]
    camera.fixedcamid = index
    return camera
