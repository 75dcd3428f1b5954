"""telos list: sizes and presets of tasks, parameters of planners and guardrails; telos --version."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pytest

from agent import provenance
from agent.command.described import Described, fields_of
from envs.guardrails.kinds import KINDS, resolve
from planners import registry as planners


def test_tasks_have_sizes_times_and_a_preset(telos: Callable[..., Any]) -> None:
    lines = telos("list", "tasks").out.splitlines()
    assert "dm_control/walker-walk-v0\t24\t6\t0.025 s\t1000\twalker-walk" in lines
    assert "Reacher-v5\t10\t2\t0.02 s\t50\tdefault" in lines


def test_a_planner_s_parameters_have_default_meaning_and_source(telos: Callable[..., Any]) -> None:
    done = telos("list", "planners", "icem")
    assert 'Rolínek & Martius, "Sample-efficient Cross-Entropy Method' in done.out
    lines = done.out.splitlines()
    assert "beta\t2.0\tnoise colour, power 1/f^beta along time; 0 is white" in lines
    assert "knots\tnull\tP, at most one per control step; None: one per control step" in lines, "inherited"


def test_a_guardrail_s_fields_are_shown(telos: Callable[..., Any]) -> None:
    lines = telos("list", "guardrails", "keep_out").out.splitlines()
    assert "clearance\t0.0\tm" in lines
    assert "scale\t0.1\tthe size of a violation, in `unit`, that counts as 1" in lines


@pytest.mark.parametrize("name", planners.BUILT_IN)
def test_every_parameter_of_a_planner_has_a_default_and_a_meaning(name: str) -> None:
    fields = fields_of(planners.load(name).Params)
    assert fields
    assert all(field.default and field.meaning for field in fields), fields


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_guardrail_can_be_shown(telos: Callable[..., Any], kind: str) -> None:
    done = telos("list", "guardrails", kind)
    assert done.status == 0
    assert {line.split("\t")[0] for line in done.out.splitlines()} >= resolve(kind).model_fields.keys()


@dataclass(frozen=True)
class Plain:
    size: int
    wide: bool = True  # as wide as it is long


def test_what_the_source_says_of_a_field() -> None:
    assert fields_of(Plain) == (Described("size", "", ""), Described("wide", "true", "as wide as it is long"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("planners", "icme"), "given 'icme'; did you mean 'icem'?"),
        (("guardrails", "keep_ot"), "given 'keep_ot'; did you mean 'keep_out'?"),
        (("tasks", "walker"), "telos list planners NAME"),
    ],
)
def test_names_that_cannot_be_shown(telos: Callable[..., Any], words: tuple[str, str], said: str) -> None:
    done = telos("list", *words)
    assert done.status == 2
    assert said in done.err


def test_version(telos: Callable[..., Any]) -> None:
    done = telos("--version")
    assert (done.status, done.out, done.err) == (0, f"telos {version('telos')}\n", "")


def test_listing_tasks_makes_no_environment() -> None:
    program = (
        "import sys; from agent.command.cli import main; main(['list', 'tasks']); print('dm_control' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=provenance.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
