"""The programs in examples/ run and print something."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.fixture
def output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path], str]:
    """Runs a program in an empty folder, in this process, and returns what it prints."""

    def run(path: Path) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(path)])
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: Path, output: Callable[[Path], str]) -> None:
    assert output(path).strip()


def test_the_gymnasium_client_sees_costs(output: Callable[[Path], str]) -> None:
    (path,) = [path for path in EXAMPLES if path.stem == "gymnasium_client"]
    lines = output(path).splitlines()
    assert len(lines) == 3
    assert any(" 0 violating steps, worst margin 0." in line for line in lines)
    assert any("violating steps, worst margin -0." in line for line in lines)
