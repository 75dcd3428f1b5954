"""Named physical quantities of a MuJoCo model: which exist, in which unit, and how they are read.

A name is `kind/object` (`body_position/torso`, `geom_distance/a/b`) or a plain state vector (`qpos`). Wherever MuJoCo
has a sensor for a quantity, that sensor is added to the model, because sensors are computed at a known stage, while RK4
leaves other MjData fields at an intermediate state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import mujoco
import mujoco.batch
import numpy as np
import torch
from torch import Tensor

from envs import zones
from envs.errors import TelosError
from envs.physics import contact_wrench
from envs.requests import Request

Source = Literal["sensor", "state", "control", "raw", "post_constraint", "power"]


@dataclass(frozen=True)
class Kind:
    """One kind of signal."""

    unit: str
    objects: str  # type of the objects in the name: joint, actuator, body, site, geom, zone, sensor, field, or ""
    sensor: str = ""  # mjtSensor suffix
    objtype: str = ""  # mjtObj suffix
    source: Source = "sensor"
    force: bool = False  # whether it belongs to a step instead of a state


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "time": Kind("s", "", source="state"),
        "qpos": Kind("m | rad", "", source="state"),
        "qvel": Kind("m/s | rad/s", "", source="state"),
        "act": Kind("actuator's own", "", source="state"),
        "ctrl": Kind("actuator's own", "", source="control", force=True),
        "joint_position": Kind("m | rad", "joint", "JOINTPOS", "JOINT"),
        "joint_velocity": Kind("m/s | rad/s", "joint", "JOINTVEL", "JOINT"),
        "actuator_velocity": Kind("m/s | rad/s", "actuator", "ACTUATORVEL", "ACTUATOR"),
        "actuator_force": Kind("N | N·m", "actuator", "ACTUATORFRC", "ACTUATOR", force=True),
        "actuator_power": Kind("W", "actuator", source="power", force=True),
        "body_position": Kind("m", "body", "FRAMEPOS", "XBODY"),
        "body_quaternion": Kind("1", "body", "FRAMEQUAT", "XBODY"),
        "body_x_axis": Kind("1", "body", "FRAMEXAXIS", "XBODY"),
        "body_y_axis": Kind("1", "body", "FRAMEYAXIS", "XBODY"),
        "body_z_axis": Kind("1", "body", "FRAMEZAXIS", "XBODY"),
        "body_velocity": Kind("m/s", "body", "FRAMELINVEL", "XBODY"),
        "body_angular_velocity": Kind("rad/s", "body", "FRAMEANGVEL", "XBODY"),
        "inertial_position": Kind("m", "body", "FRAMEPOS", "BODY"),
        "center_of_mass": Kind("m", "body", "SUBTREECOM", "BODY"),
        "center_of_mass_velocity": Kind("m/s", "body", "SUBTREELINVEL", "BODY"),
        "angular_momentum": Kind("kg·m²/s", "body", "SUBTREEANGMOM", "BODY"),
        "site_position": Kind("m", "site", "FRAMEPOS", "SITE"),
        "site_x_axis": Kind("1", "site", "FRAMEXAXIS", "SITE"),
        "site_y_axis": Kind("1", "site", "FRAMEYAXIS", "SITE"),
        "site_z_axis": Kind("1", "site", "FRAMEZAXIS", "SITE"),
        "site_velocity": Kind("m/s", "site", "FRAMELINVEL", "SITE"),
        "geom_position": Kind("m", "geom", "FRAMEPOS", "GEOM"),
        "geom_x_axis": Kind("1", "geom", "FRAMEXAXIS", "GEOM"),
        "geom_y_axis": Kind("1", "geom", "FRAMEYAXIS", "GEOM"),
        "geom_z_axis": Kind("1", "geom", "FRAMEZAXIS", "GEOM"),
        "geom_distance": Kind("m", "geom", "GEOMDIST", "GEOM"),
        "zone_distance": Kind("m", "zone", "FRAMEPOS"),
        "contact_force": Kind("N", "body", "CONTACT", "BODY", force=True),
        "strongest_contact": Kind("N", "body", "CONTACT", "BODY", force=True),
        "sensor": Kind("the sensor's own", "sensor"),
        "raw": Kind("MjData's own", "field", source="raw"),
        "post_constraint": Kind("N·m | N", "field", source="post_constraint"),
    }
)
"""The kinds of signals.

`zone_distance/ZONE/POINT` is the signed distance of a point, such as `site_position/tip`, to the surface of a zone
(envs.zones), negative inside.
`contact_force` is the net force (N, world frame) of all contacts on a body, in which opposing forces cancel out.
`strongest_contact` is the largest force of a single contact (N, in that contact's frame).
`raw/FIELD` is an MjData field as `mj_step` leaves it, which an environment may read although it lags.
`post_constraint/FIELD` is an MjData field as `mj_rnePostConstraint`, called after `mj_step`, leaves it
(envs.physics.contact_wrench).
"""

OF_CONTACTS = ("contact_force", "strongest_contact", "sensor")  # a model's own sensor may be a touch sensor
_POINTS = ("body_position", "inertial_position", "site_position", "geom_position")
_SCALAR_JOINTS = (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE)  # one position, one velocity
_OTHERS_FILL = (mujoco.mjtSensor.mjSENS_PLUGIN, mujoco.mjtSensor.mjSENS_USER)
GEOM_DISTANCE_CUTOFF = 10.0  # m; a larger distance reads as this one
_STRONGEST = (1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), 2, 1)  # data bits, reduce=maxforce, num=1
_NETFORCE = (1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), 3, 1)  # data bits, reduce=netforce, num=1


@dataclass(frozen=True)
class Reading:
    """Where the values of a request are stored after a rollout."""

    request: Request
    source: Source
    start: int = 0  # first column in sensordata, the state row, or the control
    size: int = 1  # D
    zone: Mapping[str, Any] | None = None  # zone_distance: the zone, in the frame of the point in sensordata
    field: str = ""  # raw, post_constraint: MjData field
    velocity_start: int = 0  # power: first column of the actuator's velocities
    outputs: int = 1  # power: number of the actuator's force outputs, whose powers are summed

    @property
    def columns(self) -> slice:
        """Its columns in sensordata, the state row, or the control."""
        width = self.outputs if self.source == "power" else self.size if self.zone is None else 3
        return slice(self.start, self.start + width)

    def power(self, read: np.ndarray) -> np.ndarray:
        """The power (…,1) of sensordata (…,n)."""
        velocities = slice(self.velocity_start, self.velocity_start + self.outputs)
        return (read[..., self.columns] * read[..., velocities]).sum(-1, keepdims=True)

    def value(self, read: np.ndarray) -> Tensor:
        """The signal (…,D), from the values `read` in those columns."""
        values = torch.from_numpy(read)
        return values if self.zone is None else zones.signed_distance(self.zone, values)


def parse(name: str) -> tuple[str, tuple[str, ...]]:
    """Split a signal name into its kind and its objects.

    Raises:
        TelosError: unknown kind, or a name without the objects its kind needs.
    """
    kind, *objects = name.split("/")
    if kind not in KINDS:
        raise TelosError.unknown(f"signal {name!r}", kind, KINDS)
    if kind == "zone_distance":
        zone, _, point = "/".join(objects).partition("/")
        if not zone or point.split("/")[0] not in _POINTS or not point.partition("/")[2]:
            points = ", ".join(f"{known}/…" for known in _POINTS)
            raise TelosError("signal", repr(name), f"zone_distance/ZONE/POINT, a POINT being one of {points}")
        return kind, (zone, point)
    wanted = 0 if not KINDS[kind].objects else 2 if kind == "geom_distance" else 1
    if wanted == 1 and len(objects) > 1:
        objects = ["/".join(objects)]  # names in a model may contain a slash
    if len(objects) != wanted:
        form = "/".join([kind, *[KINDS[kind].objects.upper()] * wanted])
        raise TelosError(where="signal", given=repr(name), allowed=form)
    return kind, tuple(objects)


def request(name: str) -> Request:
    """A request for a signal: inside the steps for a force, otherwise at the states. Raises as `parse`."""
    kind, _ = parse(name)
    return Request(name, "interval" if KINDS[kind].force else "state")


def names_of(spec: mujoco.MjSpec, objects: str) -> list[str]:
    """Names of the spec's hinge and slide joints, actuators, bodies, sites, geoms, or sensors."""
    lists = {
        "joint": [joint for joint in spec.joints if joint.type in _SCALAR_JOINTS],
        "actuator": spec.actuators,
        "body": spec.bodies,
        "site": spec.sites,
        "geom": spec.geoms,
        "sensor": spec.sensors,
    }
    return [item.name for item in lists[objects] if item.name]


def available(spec: mujoco.MjSpec) -> dict[str, str]:
    """Every signal of a model with its unit.

    `geom_distance` is listed once for all pairs, `zone_distance` once per zone for all points.
    """
    found: dict[str, str] = {}
    for kind, meaning in KINDS.items():
        if not meaning.objects:
            found[kind] = meaning.unit
        elif kind == "geom_distance":
            found["geom_distance/GEOM/GEOM"] = meaning.unit
        elif kind == "zone_distance":
            found |= {f"zone_distance/{zone}/POINT": meaning.unit for zone in zones.zones_of(spec)}
        elif meaning.objects != "field":
            for name in names_of(spec, meaning.objects):
                found[f"{kind}/{name}"] = meaning.unit
    return found


def check(spec: mujoco.MjSpec, request: Request) -> None:
    """Refuse a request that this model cannot answer.

    Raises:
        TelosError: unknown kind or object, or a force requested at a state.
    """
    kind, objects = parse(request.name)
    meaning = KINDS[kind]
    if meaning.source == "post_constraint":
        if objects[0] != contact_wrench.FIELD:
            raise TelosError.unknown(f"signal {request.name!r}", objects[0], [contact_wrench.FIELD])
    elif meaning.source == "raw":
        if objects[0] not in mujoco.batch.DATA_FIELDS:
            raise TelosError.unknown(f"signal {request.name!r}", objects[0], mujoco.batch.DATA_FIELDS)
    elif kind == "zone_distance":
        there = zones.zones_of(spec)
        if objects[0] not in there:
            raise TelosError.unknown(f"signal {request.name!r}", objects[0], there)
        check(spec, Request(objects[1], request.at))
    elif meaning.objects:
        names = names_of(spec, meaning.objects)
        for name in objects:
            if name not in names:
                raise TelosError.unknown(f"signal {request.name!r}", name, names)
    if meaning.force and request.at == "state":
        raise TelosError(
            where=f"signal {request.name!r}",
            given="asked for at the states",
            allowed="a force belongs to a step: granularity 'substep'",
        )


def add_sensors(spec: mujoco.MjSpec, requests: Iterable[Request]) -> dict[str, str]:
    """Add to `spec` the sensors that the requests need; return signal name -> sensor name(s)."""
    added: dict[str, str] = {}

    def add(name: str, sensor: str, objtype: str, objects: tuple[str, ...]) -> None:
        if name in added:
            return
        options: dict[str, object] = {}
        if name.startswith("zone_distance/"):  # the point's position; for a zone of a site, in its frame
            kind, (point,) = parse(objects[1])
            if not zones.is_declared(spec, objects[0]):
                options = {"reftype": mujoco.mjtObj.mjOBJ_SITE, "refname": objects[0]}
            objtype, objects = KINDS[kind].objtype, (point,)
        elif sensor == "GEOMDIST":
            options = {
                "reftype": mujoco.mjtObj.mjOBJ_GEOM,
                "refname": objects[1],
                "cutoff": GEOM_DISTANCE_CUTOFF,
            }
        elif sensor == "CONTACT":
            options = {"intprm": list(_STRONGEST if name.startswith("strongest") else _NETFORCE)}
        # The force of a contact sensor points from its object to its reference, so the body is the reference.
        target = ("reftype", "refname") if sensor == "CONTACT" else ("objtype", "objname")
        options |= dict(zip(target, (getattr(mujoco.mjtObj, f"mjOBJ_{objtype}"), objects[0]), strict=True))
        spec.add_sensor(
            name=f"telos/{name}",
            type=getattr(mujoco.mjtSensor, f"mjSENS_{sensor}"),
            **options,  # type: ignore[arg-type]
        )
        added[name] = f"telos/{name}"

    for request in requests:
        check(spec, request)
        kind, objects = parse(request.name)
        meaning = KINDS[kind]
        if kind == "sensor":
            added[request.name] = objects[0]
        elif meaning.source == "power":
            for part in ("actuator_force", "actuator_velocity"):
                add(f"{part}/{objects[0]}", KINDS[part].sensor, KINDS[part].objtype, objects)
        elif meaning.source == "post_constraint":
            if "post_constraint" not in added:
                added["post_constraint"] = "telos/post_constraint"
                contact_wrench.add_trigger(spec, "telos/post_constraint")
        elif meaning.source == "sensor":
            add(request.name, meaning.sensor, meaning.objtype, objects)
    return added


def drop_unread(spec: mujoco.MjSpec, read: Iterable[str]) -> None:
    """Delete the sensors of `spec` whose names are not in `read`, because each costs time at every step.

    MjData fields that MuJoCo fills only for a deleted sensor are then not filled. Three types stay: a sensor with a
    delay, whose samples are part of the state; a sensor of a plugin, which may do more than sense; and a sensor that a
    user's callback fills.
    """
    kept = set(read)
    for sensor in list(spec.sensors):
        if sensor.name not in kept and not sensor.nsample and sensor.type not in _OTHERS_FILL:
            spec.delete(sensor)


def layout(model: mujoco.MjModel, requests: Iterable[Request]) -> tuple[Reading, ...]:
    """Where each request is read in the compiled model that `add_sensors` prepared.

    Raises:
        TelosError: a sensor of the acceleration stage requested at the states, or a zone of another shape.
    """
    state_start, offsets = 0, {}
    for name, size in (("time", 1), ("qpos", model.nq), ("qvel", model.nv), ("act", model.na)):
        offsets[name] = (state_start, size)
        state_start += size

    def column(sensor: str) -> tuple[int, int, bool]:
        item = model.sensor(sensor)
        return int(item.adr[0]), int(item.dim[0]), int(item.needstage[0]) == mujoco.mjtStage.mjSTAGE_ACC

    readings = []
    for request in requests:
        kind, objects = parse(request.name)
        source = KINDS[kind].source
        if source == "state":
            start, size = offsets[kind]
            readings.append(Reading(request, source, start, size))
        elif source == "control":
            readings.append(Reading(request, source, 0, model.nu))
        elif source in ("raw", "post_constraint"):
            readings.append(Reading(request, source, field=objects[0]))
        elif source == "power":
            force, outputs, _ = column(f"telos/actuator_force/{objects[0]}")
            velocity, _, _ = column(f"telos/actuator_velocity/{objects[0]}")
            readings.append(Reading(request, source, force, velocity_start=velocity, outputs=outputs))
        else:
            start, size, lags = column(objects[0] if kind == "sensor" else f"telos/{request.name}")
            if lags and request.at == "state":
                raise TelosError(
                    where=f"signal {request.name!r}",
                    given="asked for at the states",
                    allowed="a signal of the state; this sensor, of the acceleration stage, belongs to a step. A "
                    "guardrail reads it with granularity 'substep'; rewards, costs and terminations can read "
                    "body_velocity, site_velocity, actuator_force or contact_force instead",
                )
            if kind == "zone_distance":
                readings.append(Reading(request, source, start, zone=zones.zone_of(model, objects[0])))
            else:
                readings.append(Reading(request, source, start, size))
    return tuple(readings)
