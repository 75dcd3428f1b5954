"""Conformance tests of every kind of guardrail; registering a kind is enough to have it tested."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from envs.errors import TelosError
from envs.guardrails import Guardrail, Guardrails, build
from envs.guardrails.memory import remembers
from envs.guardrails.registry import KINDS, describe, kinds, resolve
from envs.requests import INTERVAL_ONLY
from envs.trajectory import Signals

ALL = sorted(kinds())
N, H, K = 7, 5, 3
ROOT = str(Path(__file__).parents[2])


def example(kind: str, **changes: object) -> Guardrail:
    config = resolve(kind).example()
    return build([{**config.model_dump(exclude_none=True), **changes}])[config.name]


def signals_for(rule: Guardrail, values: torch.Tensor) -> Signals:
    """Values (N,H,K,D) as the signal of `rule`; at granularity step the last substep is the state after."""
    (request,) = rule.signals
    if request.at == "interval":
        return Signals(interval={request.name: values})
    start = torch.full_like(values[:, :1, -1], math.nan)  # the state before any action is not judged
    return Signals(state={request.name: torch.cat([start, values[:, :, -1]], dim=1)})


def random_values(rule: Guardrail, spread: float = 1.0) -> torch.Tensor:
    components = resolve(rule.kind).components or 1
    generator = torch.Generator().manual_seed(0)
    return spread * torch.randn(N, H, K, components, dtype=torch.float64, generator=generator)


def granularities(kind: str) -> list[str]:
    return ["substep"] if example(kind).granularity == "substep" else ["step", "substep"]


EACH = [(kind, granularity) for kind in ALL for granularity in granularities(kind)]


@pytest.mark.parametrize("kind", ALL)
def test_described_and_typed(kind: str) -> None:
    assert describe()[kind]
    rule = example(kind)
    assert rule.kind == kind
    assert rule.scale > 0
    assert rule.tolerance >= 0
    assert rule.unit


@pytest.mark.parametrize(("kind", "granularity"), EACH)
def test_shapes_and_worst_over_time(kind: str, granularity: str) -> None:
    rule = example(kind, granularity=granularity)
    rules = Guardrails([rule])
    signals = signals_for(rule, random_values(rule))
    steps = rules.step_margins(signals)
    assert steps.shape == (N, H, 1)
    assert steps.isfinite().all()
    torch.testing.assert_close(rules.margins(signals), steps.amin(1), rtol=0, atol=0)
    assert torch.equal(rule.margin(signals), steps[..., 0])


@pytest.mark.parametrize(("kind", "granularity"), EACH)
def test_one_bad_moment_decides(kind: str, granularity: str) -> None:
    """The margin is that of the worst substep of the worst step, never an average."""
    rule = example(kind, granularity=granularity)
    pool = random_values(rule, 300.0).reshape(-1, random_values(rule).shape[-1])
    single = rule.margin(signals_for(rule, pool[:, None, None]))[:, 0]
    safe, bad = pool[single.argmax()], pool[single.argmin()]
    h_safe, h_bad = single.max(), single.min()
    assert h_bad < h_safe
    substeps = range(K) if granularity == "substep" else [K - 1]
    for step in range(H):
        for substep in substeps:
            values = safe.expand(1, H, K, -1).clone()
            values[0, step, substep] = bad
            signals = signals_for(rule, values)
            steps = rule.margin(signals)[0]
            expected = torch.full((H,), float(h_safe), dtype=torch.float64)
            expected[step] = h_bad
            torch.testing.assert_close(steps, expected)
            torch.testing.assert_close(Guardrails([rule]).margins(signals)[0, 0], h_bad)


@pytest.mark.parametrize(("kind", "granularity"), EACH)
def test_each_step_is_judged_by_itself(kind: str, granularity: str) -> None:
    """The margins of a trajectory are those of its parts, so that all who judge any part of it agree."""
    rule = example(kind, granularity=granularity)
    assert not resolve(kind).looks_back
    assert not remembers(rule)
    signals = signals_for(rule, random_values(rule, 3.0))
    whole = rule.margin(signals)
    for step in range(H):
        values = random_values(rule, 3.0)[:, step : step + 1]
        torch.testing.assert_close(rule.margin(signals_for(rule, values))[:, 0], whole[:, step], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "granularity"), EACH)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_nothing_infinite_is_safe(kind: str, granularity: str, poison: float) -> None:
    rule = example(kind, granularity=granularity)
    rules = Guardrails([rule])
    for component in range(resolve(kind).components or 1):
        values = random_values(rule)
        values[2, 3, K - 1, component] = poison
        signals = signals_for(rule, values)
        if rules.step_margins(signals)[2, 3].isfinite().all():
            continue  # this kind does not look at this component (the x of a height)
        assert rules.violated(rules.margins(signals))[2].all()
        assert rules.violated(rules.step_margins(signals))[2, 3].all()
        assert rules.violated(rules.step_margins(signals).amin(1))[2].all()
        assert rules.margins(signals)[[0, 1, 3, 4, 5, 6]].isfinite().all()
    values = random_values(rule)
    values[2, 3, K - 1] = poison
    assert rules.violated(rules.margins(signals_for(rule, values)))[2].all()


@pytest.mark.parametrize("kind", ALL)
def test_tolerance_decides_the_border(kind: str) -> None:
    rules = Guardrails([example(kind, tolerance=0.125)])
    margin = torch.tensor([[1.0], [0.0], [-0.125], [-0.1250001], [math.nan], [math.inf], [-math.inf]])
    expected = [False, False, False, True, True, True, True]
    assert rules.violated(margin)[:, 0].tolist() == expected


@pytest.mark.parametrize("kind", ALL)
def test_tightening_tightens(kind: str) -> None:
    loose, tight = example(kind), build([resolve(kind).stricter_example()])[resolve(kind).example().name]
    judge = resolve(kind).at_least_as_strict
    assert judge(tight.params, loose.params)
    assert not judge(loose.params, tight.params)
    assert judge(loose.params, loose.params)
    signals = signals_for(loose, random_values(loose, 3.0))
    difference = tight.margin(signals) - loose.margin(signals)
    assert (difference <= 0).all()
    assert (difference < 0).any()


def margins_of(rule: Guardrail, values: torch.Tensor) -> torch.Tensor:
    """The worst component's margin of signals (n,D), (n,)."""
    return resolve(rule.kind).margin(rule.params, values).amin(-1)


@pytest.mark.parametrize("kind", ALL)
def test_no_margin_is_below_the_lowest(kind: str) -> None:
    rule = example(kind)
    lowest = resolve(kind).lowest_margin(rule.params)
    for spread in (0.1, 1.0, 300.0):
        values = random_values(rule, spread)
        assert (margins_of(rule, values.reshape(-1, values.shape[-1])) >= lowest - 1e-12).all()


@pytest.mark.parametrize("kind", ALL)
def test_some_signal_comes_close_to_the_lowest_margin(kind: str) -> None:
    """A narrowing random search finds such a signal; a kind without a lowest margin goes below any number."""
    rule = example(kind)
    lowest = resolve(kind).lowest_margin(rule.params)
    generator = torch.Generator().manual_seed(0)
    best = torch.zeros(resolve(kind).components or 1, dtype=torch.float64)
    spread = 1.0 if math.isfinite(lowest) else 1e6
    for _ in range(40):
        tried = best + spread * torch.randn(500, len(best), dtype=torch.float64, generator=generator)
        best = tried[margins_of(rule, tried).argmin()]
        spread *= 0.7
    found = float(margins_of(rule, best[None]))
    assert found < (lowest + 1e-3 if math.isfinite(lowest) else -1e5)


BOUNDED = [kind for kind in ALL if math.isfinite(resolve(kind).lowest_margin(example(kind).params))]


@pytest.mark.parametrize("kind", BOUNDED)
def test_a_tolerance_that_covers_every_margin_is_refused(kind: str) -> None:
    deepest = -resolve(kind).lowest_margin(example(kind).params)
    example(kind, tolerance=math.nextafter(deepest, 0))
    for tolerance in (deepest, 2 * deepest, 1e9):
        with pytest.raises(TelosError, match=rf"guardrails\[0\].tolerance: given .*; allowed: below {deepest:g} "):
            example(kind, tolerance=tolerance)


@pytest.mark.parametrize("kind", ALL)
def test_digest_covers_every_field(kind: str) -> None:
    config = resolve(kind).example()
    data = config.model_dump(exclude_none=True)
    changed = {"name": "other", "tolerance": config.tolerance + 0.001, "scale": config.scale * 2}
    if len(granularities(kind)) > 1:
        changed["granularity"] = "substep"
    rules = build([config])
    digests = {rules.digest} | {build([{**data, field: value}]).digest for field, value in changed.items()}
    digests |= {build([resolve(kind).stricter_example()]).digest}
    assert len(digests) == 2 + len(changed)
    # … and below the configuration, every field of the noun itself.
    row = rules[config.name].canonical()
    assert set(row) == set(Guardrail.__dataclass_fields__)


@pytest.mark.parametrize("kind", ALL)
def test_copies_are_the_same(kind: str) -> None:
    rules = build([resolve(kind).example()])
    for other in (
        copy.copy(rules),
        copy.deepcopy(rules),
        pickle.loads(pickle.dumps(rules)),
        Guardrails.from_json(rules.canonical_json, rules.digest),
        Guardrails(copy.deepcopy(list(rules))),
        Guardrails(pickle.loads(pickle.dumps(list(rules)))),
    ):
        assert other == rules
        assert other.digest == rules.digest
        other.verify(rules.digest)


def test_digest_is_the_same_in_another_process() -> None:
    code = (
        "from envs.guardrails.registry import KINDS, build, resolve\n"
        "import sys\n"
        "rules = build([resolve(kind).example() for kind in reversed(sorted(KINDS))])\n"
        "assert 'torch' not in sys.modules, 'building guardrails should stay light'\n"
        "print(rules.digest)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ROOT},
    )
    assert found.stdout.strip() == build([resolve(kind).example() for kind in sorted(KINDS)]).digest


@pytest.mark.parametrize("kind", ALL)
def test_gradient_is_finite(kind: str) -> None:
    rule = example(kind)
    values = random_values(rule)
    values[0, 0] = 0.0  # where norms have a corner
    values[1, 0] = torch.tensor(rule.params.get("center", 0.0), dtype=torch.float64)
    if kind == "body_orientation":
        values[:2, 0] = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    values.requires_grad_(True)
    rule.margin(signals_for(rule, values)).sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert (values.grad != 0).any()


def test_hand_computed_margins() -> None:
    def h(config: dict, *value: float) -> float:
        rule = next(iter(build([{"name": "x", **config}])))
        return float(rule.margin(signals_for(rule, torch.tensor(value, dtype=torch.float64).expand(1, 1, 1, -1))))

    joint = {"kind": "joint_position", "joint": "j"}
    assert h({**joint, "lower": -1, "upper": 2}, 1.5) == 0.5
    assert h({**joint, "lower": -1, "upper": 2}, -1.5) == -0.5
    assert h({**joint, "upper": 2}, -9.0) == 11.0
    assert h({"kind": "joint_velocity", "joint": "j", "limit": 3}, -4.0) == -1.0
    assert h({"kind": "body_height", "body": "b", "lower": 0.5}, 9.0, 9.0, 0.75) == 0.25
    upright = {"kind": "body_orientation", "body": "b", "limit": 1.0}
    assert h(upright, 0.0, 0.0, 1.0) == 1.0
    assert h(upright, 1.0, 0.0, 0.0) == pytest.approx(1 - math.pi / 2)
    assert h(upright, 0.0, 0.0, -1.0) == pytest.approx(1 - math.pi)
    assert h({**upright, "toward": "-y"}, 0.0, -1.0, 0.0) == 1.0
    assert h({**upright, "axis": "x", "toward": "+x"}, 0.0, 0.0, 2.0) == pytest.approx(1 - math.pi / 2)
    assert math.isnan(h(upright, 0.0, 0.0, 0.0))  # no direction at all is not upright
    assert h({"kind": "body_velocity", "body": "b", "limit": 6}, 3.0, 4.0, 0.0) == 1.0
    assert h({"kind": "actuator_force", "actuator": "a", "limit": 6}, -7.0) == -1.0
    assert h({"kind": "actuator_power", "actuator": "a", "limit": 6}, -7.0) == -1.0
    assert h({"kind": "contact_force", "contact": "c", "limit": 6}, 3.0, 4.0, 0.0) == 1.0
    assert h({"kind": "contact_force", "contact": "c", "limit": 6}, 4.0) == 2.0
    assert h({"kind": "geom_distance", "geoms": ["a", "b"], "minimum": 0.5}, 0.25) == -0.25
    ball = {
        "kind": "keep_out",
        "point": "site_position/p",
        "zone": {"shape": "sphere", "center": [1, 0, 0], "radius": 1},
    }
    assert h({**ball, "clearance": 0.5}, 3.0, 0.0, 0.0) == 0.5
    assert h({**ball, "clearance": 0.5}, 1.0, 0.0, 0.0) == -1.5
    cell = {"kind": "keep_in", "point": "site_position/p", "zone": {"center": [0, 0, 0], "half_sizes": [1, 2, 3]}}
    assert h({**cell, "clearance": 0.25}, 0.5, 0.0, 0.0) == 0.25
    assert h(cell, 4.0, 6.0, 0.0) == -5.0


def test_columns_are_in_the_order_of_names() -> None:
    rules = build([resolve(kind).example() for kind in sorted(KINDS, reverse=True)])
    assert list(rules.names) == sorted(rules.names)
    assert rules.scale.tolist() == [rules[name].scale for name in rules.names]
    assert rules.tolerance.tolist() == [rules[name].tolerance for name in rules.names]
    assert rules.units == tuple(rules[name].unit for name in rules.names)
    parts = [signals_for(rule, random_values(rule)) for rule in rules]
    signals = Signals(
        {name: value for part in parts for name, value in part.state.items()},
        {name: value for part in parts for name, value in part.interval.items()},
    )
    assert rules.step_margins(signals).shape == (N, H, len(rules))
    margins = rules.margins(signals)
    for column, rule in enumerate(rules):
        assert torch.equal(margins[:, column], rule.worst_margin(signals))
    assert {(r.name, r.at) for r in rules.requests} == {(n, "state") for n in signals.state} | {
        (n, "interval") for n in signals.interval
    }


def test_without_guardrails() -> None:
    rules = build([])
    signals = Signals(state={"joint_position/j": torch.zeros(N, H + 1, 1)})
    assert rules.margins(signals).shape == (N, 0)
    assert rules.step_margins(signals).shape == (N, H, 0)
    assert not rules.violated(rules.margins(signals)).any()
    with pytest.raises(TelosError, match="how many candidates"):
        rules.margins(Signals())


def test_the_first_state_is_not_judged_and_the_last_is() -> None:
    rule = example("joint_position")
    angles = torch.zeros(1, H + 1, 1)
    angles[0, 0] = 99.0
    assert rule.worst_margin(Signals(state={"joint_position/elbow": angles})) > 0
    assert rule.worst_margin(Signals(state={"joint_position/elbow": angles.flip(1)})) < 0


def test_loads_exist_only_inside_steps() -> None:
    for kind in ("actuator_force", "actuator_power", "contact_force"):
        assert kind in INTERVAL_ONLY
        with pytest.raises(TelosError, match=r"granularity: given 'step'; did you mean 'substep'\?; allowed: substep"):
            example(kind, granularity="step")
