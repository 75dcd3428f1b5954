"""Draws guardrail zones into a rendered scene; the physics never sees them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from envs.guardrails.ruleset import Guardrails

COLOURS = {"keep_out": (0.9, 0.2, 0.2, 0.5), "keep_in": (0.2, 0.7, 0.3, 0.15)}


def draw_zones(scene: mujoco.MjvScene, guardrails: Guardrails) -> None:
    """Add a translucent body for every zone that still fits into the scene."""
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
