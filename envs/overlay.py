"""Draws guardrail zones and imagined paths into a rendered scene, without effect on the physics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import mujoco
import numpy as np

from envs.guardrails.ruleset import Guardrails

COLOURS = {"keep_out": (0.9, 0.2, 0.2, 0.5), "keep_in": (0.2, 0.7, 0.3, 0.15)}


PATH = (0.1, 0.55, 1.0)  # colour of an imagined path, red green blue
NOW, LATER = 0.9, 0.25  # opacity at the two ends of a path
THICKNESS = 0.004  # radius of a path, relative to its distance from the camera


def draw_paths(scene: mujoco.MjvScene, paths: Iterable[np.ndarray]) -> None:
    """Draw every path (H+1,3), in m, as a line of capsules that fades towards its end; the scene must have a camera."""
    eye = scene.camera[0].pos
    for path in paths:
        opacity = np.linspace(NOW, LATER, len(path) - 1)
        for begin, end, alpha in zip(path[:-1], path[1:], opacity, strict=True):
            if scene.ngeom >= scene.maxgeom:
                return
            geom, capsule, nowhere = scene.geoms[scene.ngeom], mujoco.mjtGeom.mjGEOM_CAPSULE, np.zeros(3)
            colour = np.array([*PATH, alpha], dtype=np.float32)
            mujoco.mjv_initGeom(geom, capsule, nowhere, nowhere, np.eye(3).ravel(), colour)
            mujoco.mjv_connector(geom, capsule, THICKNESS * float(np.linalg.norm(begin - eye)), begin, end)
            scene.ngeom += 1


def draw_zones(scene: mujoco.MjvScene, guardrails: Guardrails) -> None:
    """Add a translucent geom for every zone, as long as the scene has room."""
    for rule in guardrails:
        colour, params = COLOURS.get(rule.kind), rule.params
        if colour is None or scene.ngeom >= scene.maxgeom:
            continue
        shape, size = _body(params)
        yaw = float(params.get("yaw") or 0.0)
        turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1.0]])
        mujoco.mjv_initGeom(
            scene.geoms[scene.ngeom],
            shape,
            np.array(size, dtype=np.float64),
            np.array(params["center"], dtype=np.float64),
            turn.ravel(),
            np.array(colour, dtype=np.float32),
        )
        scene.ngeom += 1


def _body(zone: Mapping[str, Any]) -> tuple[Any, tuple[float, ...]]:
    """MuJoCo's geom type and size of a zone."""
    if zone.get("shape") == "sphere":
        return mujoco.mjtGeom.mjGEOM_SPHERE, (zone["radius"],) * 3
    if zone.get("shape") == "cylinder":
        return mujoco.mjtGeom.mjGEOM_CYLINDER, (zone["radius"], zone["radius"], zone["height"] / 2)
    return mujoco.mjtGeom.mjGEOM_BOX, tuple(zone["half_sizes"])
