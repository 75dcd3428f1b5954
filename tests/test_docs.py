"""The documentation: its code blocks run, its links have targets, and the site can be built.

A page is executed from top to bottom in a folder of its own, which holds a copy of docs/arm:

- Python blocks of a page share one namespace.
- A block with a title is a file, and is written.
- The commands of an `sh` block run. `telos` runs in this process, with few frames and candidates, and without Ray.
  Two commands are only parsed: `telos bench`, and `ray`, whose clusters tests/rollouts starts. `make` only says what it
  would do. `pip install` writes what an installation would: the name of the package and its entry points.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import unreported
from tests.learning.conftest import REWARDS, SMALL

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
COMMAND = re.compile(r"(?:\S*/)?(telos|make|pip|python3?|ray|cat|for|git) ")
ADDRESS = "HEAD:6379"
SILENT = ("run", "resume")  # write no report here, as it takes most of a short run; `telos report` writes one
FRAMES, EVALUATIONS = 3, 16
FEW = {
    "quickstart": {**SMALL, "learn.moments": FRAMES, "learn.every": 1},  # windows as long as the collected episodes
    "rewards": {**REWARDS, "evaluate.returns.by": ["policy"], "evaluate.returns.episodes": 1},
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str  # of a file; "" for others
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def executed(page: Path) -> bool:
    return any(block.language in ("python", "sh") for block in blocks(page))


EXECUTED = [page for page in PAGES if executed(page)]


def commands(text: str) -> list[list[str]]:
    """The commands of a block as words, without comments and folders of programs."""
    found = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    return [[Path(words[0]).name, *words[1:]] for words in found if words]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder but for docs/arm, from which modules can be imported, without plug-ins in the end."""
    shutil.copytree(ROOT / "docs" / "arm", tmp_path / "docs" / "arm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    forget_plug_ins()


def forget_plug_ins() -> None:
    """Entry points are read once per process; this makes telos read them again."""
    from envs import table
    from envs.guardrails import kinds
    from planners import registry

    for cached in (table.plug_ins, kinds.resolve, registry.table):
        cached.cache_clear()


@pytest.fixture
def unshortened() -> Callable[..., contextlib.AbstractContextManager[None]]:
    """A context in which configurations are loaded as they are."""
    from agent.config import load as loading

    load = loading.load

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loading, "load", load)
            yield

    return context


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, unshortened: object) -> None:
    """`telos run` and `train` do little, make no video, and run in this process even where workers are asked for."""
    from agent.config import load as loading
    from agent.learning import recipe
    from agent.rollouts import film, rollouts

    load = loading.load

    def shortened(*given: Any) -> Any:
        config = load(*given)
        budget = type(config.planner.budget)(evaluations=EVALUATIONS)
        planner = config.planner.model_copy(update={"budget": budget})
        few = {"frames": FRAMES, "episodes": min(config.episodes, 2), "planner": planner}
        return config.model_copy(update={**few, "video": type(config.video)(which="none")})

    @contextlib.contextmanager
    def here(workers: int | None, address: str | None, threads: int | None) -> Iterator[rollouts.Serial]:
        assert workers is None or workers > 0
        assert address in (None, ADDRESS)
        yield rollouts.Serial()

    trained = recipe.load
    monkeypatch.setattr(loading, "load", shortened)
    monkeypatch.setattr(rollouts, "rollouts_for", here)
    monkeypatch.setattr(recipe, "load", lambda name, more: trained(name, {**FEW.get(name, SMALL), **more}))
    monkeypatch.setattr(film, "missing", lambda: "no video: not in this test")


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.name)
@pytest.mark.usefixtures("short")
def test_page_runs(
    page: Path,
    folder: Path,
    telos: Callable[..., Any],
    unshortened: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look up their module
    for index, block in enumerate(blocks(page)):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            with unshortened():
                exec(compile(block.text, f"{page.name}[{index}]", "exec", dont_inherit=True), vars(module))
        elif block.language == "sh":
            for words in commands(block.text):
                run(words, telos)


def run(words: list[str], telos: Callable[..., Any]) -> None:
    """Run or parse one command (see the module's docstring). Raises AssertionError if it fails."""
    program, *arguments = words
    if program == "telos" and arguments[0] == "bench":
        from agent.command.arguments import parse, split
        from agent.command.cli import COMMANDS

        parse(split(arguments)[0], COMMANDS)
    elif program == "telos":
        with unreported() if arguments[0] in SILENT else contextlib.nullcontext():
            done = telos(*arguments)
        assert done.status == 0, f"{shlex.join(words)}: {done.err}"
    elif program == "make":
        done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif program == "ray":
        from ray.scripts.scripts import cli

        name, command, rest = cli.resolve_command(cli.make_context("ray", arguments, resilient_parsing=True), arguments)
        assert command is not None
        command.make_context(name, list(rest))
    elif program == "pip":
        assert arguments == ["install", "--editable", "."]
        install()
    elif program == "cat":
        subprocess.run(f"cat {' '.join(arguments)}", shell=True, check=True)
    else:
        raise AssertionError(f"{program}: tests/test_docs.py does not know how to run it")


def install() -> None:
    """Write the metadata of the package in this folder, as an editable installation would."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    info = Path(f"{project['name'].replace('-', '_')}-{project['version']}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [line for group, names in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in names.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    forget_plug_ins()


def test_pages_with_code_are_executed() -> None:
    guides = {"README.md", "getting_started.md", "own_task.md", "own_planner.md", "own_guardrail.md", "runs.md"}
    assert guides <= {page.name for page in EXECUTED}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_in_a_block_that_is_executed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") == 2 * len(BLOCK.findall(text)), "a fence that the tests do not read"
    for block in blocks(page):
        if block.language not in ("python", "sh") and not block.title:
            assert not any(COMMAND.match(line) for line in block.text.splitlines()), block.text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not missing
