"""Zones of space and the distance to them: what guardrails, costs and the zones of a model have in common.

In a model, a zone is a site that has its shape. A site has no physics, so a zone changes nothing but what can be asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field

from envs.errors import TelosError

if TYPE_CHECKING:
    import mujoco
    from torch import Tensor

# Numbers are strict ("1.0" and true are not numbers) and finite.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Vector3 = tuple[Number, Number, Number]


class Box(BaseModel, extra="forbid", frozen=True):
    """A box, turned about the world's z."""

    shape: Literal["box"] = "box"
    center: Vector3  # m, world
    half_sizes: tuple[Positive, Positive, Positive]  # m
    yaw: Number = 0.0  # rad


class Sphere(BaseModel, extra="forbid", frozen=True):
    """A ball."""

    shape: Literal["sphere"] = "sphere"
    center: Vector3  # m, world
    radius: Positive  # m


class Cylinder(BaseModel, extra="forbid", frozen=True):
    """An upright cylinder."""

    shape: Literal["cylinder"] = "cylinder"
    center: Vector3  # m, world, half-way up
    radius: Positive  # m
    height: Positive  # m, from end to end


Zone = Annotated[Box | Sphere | Cylinder, Field(discriminator="shape")]


def signed_distance(params: Mapping[str, Any], points: Tensor) -> Tensor:
    """Exact Euclidean distance of points (…,3) to a zone's surface, (…,1) in m; negative inside."""
    offset = points - points.new_tensor(params["center"])
    if params["shape"] == "sphere":
        return offset.norm(dim=-1, keepdim=True) - params["radius"]
    if params["shape"] == "cylinder":
        radial = offset[..., :2].norm(dim=-1, keepdim=True) - params["radius"]
        axial = offset[..., 2:].abs() - 0.5 * params["height"]
        beyond, deepest = _join(radial, axial), radial.maximum(axial)
    elif params["shape"] == "box":
        if params["yaw"] != 0.0:
            c, s = math.cos(params["yaw"]), math.sin(params["yaw"])
            offset = offset @ points.new_tensor(((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))
        beyond = offset.abs() - points.new_tensor(params["half_sizes"])
        deepest = beyond.amax(-1, keepdim=True)
    else:
        raise ValueError(f"no signed distance for shape {params['shape']!r}")
    # Outside only the positive parts count; inside the nearest face does. All of these let NaN through, and
    # `norm`, unlike hypot and sqrt, has a finite gradient at zero.
    return beyond.clamp(min=0).norm(dim=-1, keepdim=True) + deepest.clamp(max=0)


def _join(*parts: Tensor) -> Tensor:
    import torch

    return torch.cat(parts, dim=-1)


def local(model: mujoco.MjModel, site: str) -> Mapping[str, Any]:
    """The zone that a site of the model is, in the site's own frame. Raises TelosError for another shape."""
    import mujoco

    found, center = model.site(site), (0.0, 0.0, 0.0)
    first, second, third = (float(size) for size in found.size)
    if found.type[0] == mujoco.mjtGeom.mjGEOM_SPHERE:
        return {"shape": "sphere", "center": center, "radius": first}
    if found.type[0] == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return {"shape": "cylinder", "center": center, "radius": first, "height": 2 * second}
    if found.type[0] == mujoco.mjtGeom.mjGEOM_BOX:
        return {"shape": "box", "center": center, "half_sizes": (first, second, third), "yaw": 0.0}
    shape = mujoco.mjtGeom(int(found.type[0])).name.removeprefix("mjGEOM_").lower()
    raise TelosError(f"zone {site!r}", f"a site of shape {shape}", "a box, a sphere or a cylinder")


def declared(spec: Callable[[], mujoco.MjSpec], zones: Mapping[str, Zone], where: str) -> Callable[[], mujoco.MjSpec]:
    """The same model with a site for every zone. Raises TelosError, when it is made, for a name that is taken."""

    def with_zones() -> mujoco.MjSpec:
        made = spec()
        for name, zone in zones.items():
            if name in {site.name for site in made.sites}:
                raise TelosError(f"{where}.{name}", "the name of a site that the model has", "another name")
            _add(made, name, zone)
        return made

    return with_zones if zones else spec


def _add(spec: mujoco.MjSpec, name: str, zone: Zone) -> None:
    import mujoco

    if isinstance(zone, Box):
        turn = (math.cos(zone.yaw / 2), 0.0, 0.0, math.sin(zone.yaw / 2))
        shape, size = mujoco.mjtGeom.mjGEOM_BOX, zone.half_sizes
    else:
        turn = (1.0, 0.0, 0.0, 0.0)
        shape = mujoco.mjtGeom.mjGEOM_SPHERE if isinstance(zone, Sphere) else mujoco.mjtGeom.mjGEOM_CYLINDER
        size = (zone.radius, 0.0 if isinstance(zone, Sphere) else zone.height / 2, 0.0)
    spec.worldbody.add_site(name=name, type=shape, size=size, pos=zone.center, quat=turn)
