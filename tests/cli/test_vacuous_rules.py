"""The messages of `telos run` about rules that no state can break."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HEAD = """\
task: dm_control/point_mass-easy-v0
episodes: 1
frames: 2
video: false
planner: {kind: icem, horizon: 4, budget: {evaluations: 8}}
guardrails:
"""
BALL = "zone: {shape: sphere, center: [0.0, 0.12, 0.0], radius: 0.04}"
REFUSED = {
    "tolerance": (
        f"{{kind: keep_out, name: r, point: geom_position/pointmass, tolerance: 0.04, {BALL}}}",
        "guardrails[0].tolerance: given 0.04; allowed: below 0.04 m",
    ),
    "point": (
        f"{{kind: keep_out, name: r, point: body_velocity/pointmass, {BALL}}}",
        "did you mean 'body_position/pointmass'?",
    ),
    "constant": (
        f"{{kind: keep_out, name: r, point: geom_position/ground, {BALL}}}",
        "guardrail 'r'.signals: given 'geom_position/ground', which is constant in this model",
    ),
    "blank": ("{kind: joint_velocity, name: r, joint: ' ', limit: 1}", "guardrails[0].joint: given ' '"),
    "surrogate": (
        '{kind: joint_velocity, name: r, joint: "root_x\\ud800", limit: 1, unit: m/s}',
        "given 'root_x\\ud800', with the character U+D800",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str, telos: Callable[..., Any], tmp_path: Path) -> None:
    rule, says = REFUSED[name]
    (tmp_path / "c.yaml").write_text(f"{HEAD}  - {rule}\n")
    done = telos("run", tmp_path / "c.yaml", "--out", tmp_path / "out")
    assert done.status == 2
    assert says in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("fast")
def test_a_rule_that_the_joint_keeps_is_told(telos: Callable[..., Any], tmp_path: Path) -> None:
    rules = [
        "{kind: joint_position, name: wide, joint: root_x, lower: -9, upper: 9, unit: m}",
        "{kind: joint_position, name: tight, joint: root_y, lower: -0.25, upper: 0.25, unit: m}",
    ]
    (tmp_path / "c.yaml").write_text(HEAD + "".join(f"  - {rule}\n" for rule in rules))
    done = telos("run", tmp_path / "c.yaml", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    warnings = [line for line in done.err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1
    assert (
        "guardrail 'wide' forbids only what is far beyond the range of joint 'root_x', -0.29 to 0.29 m" in warnings[0]
    )
