"""The Python code in the documentation runs, and its links have targets."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def blocks() -> list[tuple[Path, int, str]]:
    return [
        (page, index, code)
        for page in PAGES
        for index, code in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize(("page", "index", "code"), blocks(), ids=lambda value: getattr(value, "name", None))
def test_block_runs(page: Path, index: int, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(f"{page.stem}_{index}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look up their module
    monkeypatch.chdir(ROOT)
    exec(compile(code, f"{page.name}[{index}]", "exec", dont_inherit=True), vars(module))


def test_there_are_blocks() -> None:
    assert len(blocks()) >= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not missing
