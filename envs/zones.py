"""Zones of space and signed distances to them, shared by guardrails, costs and the zones of a model.

A zone of a model is a site of such a shape, or a zone that was declared for the model. A declared zone is stored in the
model's custom numbers. No body, geom or site is added, so that the fields that resets write keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import mujoco
from pydantic import BaseModel, Field

from envs.errors import TelosError
from envs.names import fault
from envs.numbers import Number, Positive

if TYPE_CHECKING:
    from torch import Tensor

Vector3 = tuple[Number, Number, Number]


class Box(BaseModel, extra="forbid", frozen=True):
    """A box, rotated about the world's z axis."""

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
    # Outside, only the positive components count; inside, only the nearest face. All of these propagate NaN, and
    # `norm`, unlike hypot and sqrt, has a finite gradient at zero.
    return beyond.clamp(min=0).norm(dim=-1, keepdim=True) + deepest.clamp(max=0)


def depth(params: Mapping[str, Any]) -> float:
    """The largest depth of a point inside a zone, in m: its distance to the surface."""
    if params["shape"] == "sphere":
        return params["radius"]
    if params["shape"] == "cylinder":
        return min(params["radius"], 0.5 * params["height"])
    return min(params["half_sizes"])


def _join(*parts: Tensor) -> Tensor:
    import torch

    return torch.cat(parts, dim=-1)


def zones_of(spec: mujoco.MjSpec) -> list[str]:
    """The names of a model's zones: declared zones, and sites."""
    declared = [item.name.removeprefix(_PREFIX) for item in spec.numerics if item.name.startswith(_PREFIX)]
    return declared + [site.name for site in spec.sites if site.name]


def is_declared(model: mujoco.MjSpec | mujoco.MjModel, name: str) -> bool:
    """Whether the zone was declared, and is therefore in the world's frame; a site has its own frame."""
    if isinstance(model, mujoco.MjSpec):
        return any(item.name == _PREFIX + name for item in model.numerics)
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_NUMERIC, _PREFIX + name) >= 0


def zone_of(model: mujoco.MjModel, name: str) -> Mapping[str, Any]:
    """A zone's parameters for `signed_distance`.

    They are in the world's frame for a declared zone, in the site's own frame for a site. Raises TelosError for a site
    of another shape.
    """
    if is_declared(model, name):
        shape, x, y, z, *sizes, yaw = (float(number) for number in model.numeric(_PREFIX + name).data)
        return _numbers(_SHAPES[int(shape)], (x, y, z), sizes, yaw)
    site = model.site(name)
    first, second, third = (float(size) for size in site.size)
    shapes = {mujoco.mjtGeom.mjGEOM_SPHERE: 0, mujoco.mjtGeom.mjGEOM_CYLINDER: 1, mujoco.mjtGeom.mjGEOM_BOX: 2}
    kind = mujoco.mjtGeom(int(site.type[0]))
    if kind not in shapes:
        shape = kind.name.removeprefix("mjGEOM_").lower()
        raise TelosError(f"zone {name!r}", f"a site of shape {shape}", "a box, a sphere or a cylinder")
    sizes = (first, 2 * second if kind == mujoco.mjtGeom.mjGEOM_CYLINDER else second, third)
    return _numbers(_SHAPES[shapes[kind]], (0.0, 0.0, 0.0), sizes, 0.0)


def declared(spec: Callable[[], mujoco.MjSpec], zones: Mapping[str, Zone], where: str) -> Callable[[], mujoco.MjSpec]:
    """A function that makes the same spec with these zones declared in it.

    Raises:
        TelosError: when the spec is made, for a name that exists already or that a signal's name cannot contain.
    """

    def with_zones() -> mujoco.MjSpec:
        made = spec()
        for name, zone in zones.items():
            if said := fault(name):
                raise TelosError(f"{where}.{name!r}", repr(name), said)
            if "/" in name:
                raise TelosError(f"{where}.{name}", repr(name), "a name without '/'")
            if name in zones_of(made):
                raise TelosError(f"{where}.{name}", "the name of a zone or site that the model has", "another name")
            made.add_numeric(name=_PREFIX + name, data=_packed(zone), size=_PACKED)
        return made

    return with_zones if zones else spec


_PREFIX = "telos/zone/"
_SHAPES = ("sphere", "cylinder", "box")
_PACKED = 8  # numbers: shape, center, three sizes, yaw


def _packed(zone: Zone) -> list[float]:
    if isinstance(zone, Box):
        return [2.0, *zone.center, *zone.half_sizes, zone.yaw]
    height = zone.height if isinstance(zone, Cylinder) else 0.0
    return [float(_SHAPES.index(zone.shape)), *zone.center, zone.radius, height, 0.0, 0.0]


def _numbers(shape: str, center: Vector3, sizes: Sequence[float], yaw: float) -> Mapping[str, Any]:
    if shape == "box":
        return {"shape": shape, "center": center, "half_sizes": tuple(sizes), "yaw": yaw}
    height = {"height": sizes[1]} if shape == "cylinder" else {}
    return {"shape": shape, "center": center, "radius": sizes[0], **height}
