"""Signed distances against brute force, and "at least as strict" against sampled margins."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.guardrails import build
from envs.guardrails.registry import resolve
from envs.zones import signed_distance

coordinate = st.floats(-2, 2)
size = st.floats(0.1, 1.5)
points = st.tuples(coordinate, coordinate, coordinate)
M = 60  # samples along each edge of a surface


def box_surface(half: np.ndarray) -> np.ndarray:
    u, v = (x.ravel() for x in np.meshgrid(np.linspace(-1, 1, M), np.linspace(-1, 1, M)))
    faces = []
    for axis in range(3):
        for side in (-1.0, 1.0):
            face = np.empty((u.size, 3))
            face[:, axis] = side
            face[:, [i for i in range(3) if i != axis]] = np.stack([u, v], 1)
            faces.append(face * half)
    return np.concatenate(faces)


def sphere_surface(radius: float) -> np.ndarray:
    i = np.arange(6 * M * M) + 0.5  # a Fibonacci lattice
    polar, turn = np.arccos(1 - 2 * i / i.size), np.pi * (1 + 5**0.5) * i
    return radius * np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)


def cylinder_surface(radius: float, height: float) -> np.ndarray:
    turn, level = np.meshgrid(np.linspace(0, 2 * np.pi, 4 * M), np.linspace(-1, 1, M))
    side = np.stack([radius * np.cos(turn), radius * np.sin(turn), height / 2 * level], -1).reshape(-1, 3)
    r = radius * np.abs(level)
    cap = np.stack([r * np.cos(turn), r * np.sin(turn), np.full_like(r, height / 2)], -1).reshape(-1, 3)
    return np.concatenate([side, cap, cap * [1, 1, -1]])


def check(params: dict, point: tuple, surface: np.ndarray, inside: bool, spacing: float) -> None:
    found = float(signed_distance(params, torch.tensor([point], dtype=torch.float64)))
    sampled = np.linalg.norm(surface - np.asarray(point), axis=1).min()
    # Sampled points lie on the surface: the nearest is no nearer than the surface, and at most a spacing farther.
    assert abs(found) <= sampled + 1e-9
    assert sampled <= abs(found) + spacing
    if abs(found) > 1e-9:
        assert (found < 0) == inside


@settings(max_examples=60)
@given(points, points, st.tuples(size, size, size), st.floats(-4, 4))
def test_box(point: tuple, center: tuple, half: tuple, yaw: float) -> None:
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    surface = box_surface(np.array(half)) @ turn.T + center
    local = turn.T @ (np.array(point) - center)
    params = {"shape": "box", "center": center, "half_sizes": half, "yaw": yaw}
    spacing = 2 * max(half) / (M - 1)
    check(params, point, surface, bool((np.abs(local) < half).all()), spacing)


@settings(max_examples=60)
@given(points, points, size)
def test_sphere(point: tuple, center: tuple, radius: float) -> None:
    inside = bool(np.linalg.norm(np.subtract(point, center)) < radius)
    params = {"shape": "sphere", "center": center, "radius": radius}
    check(params, point, sphere_surface(radius) + center, inside, 0.05 * radius)


@settings(max_examples=60)
@given(points, points, size, size)
def test_cylinder(point: tuple, center: tuple, radius: float, height: float) -> None:
    x, y, z = np.subtract(point, center)
    inside = bool(np.hypot(x, y) < radius and abs(z) < height / 2)
    params = {"shape": "cylinder", "center": center, "radius": radius, "height": height}
    check(params, point, cylinder_surface(radius, height) + center, inside, 0.1 * max(radius, height))


@st.composite
def zones(draw: st.DrawFn) -> dict:
    few = st.sampled_from([0.25, 0.5, 1.0])  # few values, so that comparable pairs are common
    zone: dict = {"shape": draw(st.sampled_from(["box", "sphere", "cylinder"])), "center": (0.0, 0.1, 0.2)}
    if zone["shape"] == "box":
        zone |= {"half_sizes": draw(st.tuples(few, few, few)), "yaw": draw(st.sampled_from([0.0, 0.7]))}
    else:
        zone |= {"radius": draw(few)}
    if zone["shape"] == "cylinder":
        zone |= {"height": draw(few)}
    return zone


@settings(max_examples=300)
@given(
    st.sampled_from(["keep_out", "keep_in"]),
    zones(),
    zones(),
    st.sampled_from([0.0, 0.1]),
    st.integers(0, 99),
)
def test_at_least_as_strict_never_lies(kind: str, a: dict, b: dict, clearance: float, seed: int) -> None:
    """Whenever a rule counts as at least as strict, its margin is nowhere larger than the other's."""
    if kind == "keep_in":
        a, b = ({**zone, "shape": "box", "half_sizes": zone.get("half_sizes", (1, 1, 1))} for zone in (a, b))
        for zone in (a, b):
            zone.pop("radius", None)
            zone.pop("height", None)
    new, old = (
        next(iter(build([{"kind": kind, "name": "z", "point": "site_position/p", "zone": zone, "clearance": extra}])))
        for zone, extra in ((a, clearance), (b, 0.0))
    )
    rule = resolve(kind)
    if rule.at_least_as_strict(new.params, old.params):
        x = 2 * torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        assert (rule.margin(new.params, x) <= rule.margin(old.params, x) + 1e-12).all()


@settings(max_examples=200)
@given(zones(), st.sampled_from([0.0, 0.1]), st.integers(0, 99))
def test_no_point_is_deeper_than_the_depth(zone: dict, clearance: float, seed: int) -> None:
    config = {"kind": "keep_out", "name": "z", "point": "site_position/p", "zone": zone, "clearance": clearance}
    (rule,) = build([config])
    x = torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x[0] = torch.tensor(zone["center"], dtype=torch.float64)
    margins, lowest = resolve("keep_out").margin(rule.params, x), resolve("keep_out").lowest_margin(rule.params)
    assert (margins >= lowest - 1e-12).all()
    assert abs(float(margins[0]) - lowest) < 1e-12  # at the centre


bound = st.none() | st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])


@settings(max_examples=300)
@given(bound, bound, bound, bound)
def test_bounds_never_lie(lower: float | None, upper: float | None, low: float | None, up: float | None) -> None:
    rule = resolve("joint_position")
    new, old = {"lower": lower, "upper": upper}, {"lower": low, "upper": up}
    if None in (lower or upper, low or up) and (lower is upper is None or low is up is None):
        return  # no such rule can be configured
    x = torch.linspace(-3, 3, 121, dtype=torch.float64)
    stricter = bool((rule.margin(new, x) <= rule.margin(old, x)).all())
    assert rule.at_least_as_strict(new, old) == stricter
