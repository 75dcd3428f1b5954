"""The documentation site: built once without a network, and checked by its own build."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("site")  # one site for all
ROOT = Path(__file__).parent.parent
BUILD = ROOT / "docs" / "site" / "build.py"
OFFLINE = """
import socket

def refused(*given, **more):
    raise OSError("the build of the site uses the network")

socket.socket.connect = refused
socket.getaddrinfo = refused
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(OFFLINE)
    done = subprocess.run(
        [sys.executable, str(BUILD), "--out", str(folder / "docs")],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), "http_proxy": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()).parent


def test_a_newcomer_finds(site: Path) -> None:
    """The pages that the navigation leads to, and what they say."""
    for page, words in {
        "index.html": ["make run", "What an objective-driven agent is"],
        "getting_started.html": ["make setup", "telos run quickstart"],
        "concepts.html": ["The two parts of the objective"],
        "planners.html": ["What each planner needs"],
        "own_guardrail.html": ["class BodyDescent"],
        "own_planner.html": ["class HillClimbing"],
        "own_world_model.html": ["imagine"],
        "own_task.html": ["reward", "back_up"],
        "runs.html": ["episodes.jsonl"],
        "measured/planners.html": ["TD-MPC2"],
        "adr/index.html": ["Signals are read through MuJoCo sensors"],
    }.items():
        text = re.sub(r"<[^>]+>", "", (site / page).read_text(encoding="utf-8"))
        assert [word for word in words if word not in text] == [], page


def test_the_reference_shows_what_the_source_says(site: Path) -> None:
    text = (site / "reference/planners/icem.html").read_text(encoding="utf-8")
    assert "K: the number of best candidates that the distribution is fitted to" in text  # a comment beside a field
    assert 'id="planners.icem.Icem.begin"' in text
    text = (site / "reference/agent/config/config.html").read_text(encoding="utf-8")
    assert "control steps per episode" in text  # a description of a field
    text = (site / "reference/command_line.html").read_text(encoding="utf-8")
    assert "All randomness derives from it." in text


def test_every_module_has_a_page(site: Path) -> None:
    for package in ("agent", "envs", "planners", "worldmodels"):
        for file in (ROOT / package).rglob("*.py"):
            page = file.relative_to(ROOT).with_suffix(".html")
            page = page.with_name("index.html") if page.stem == "__init__" else page
            assert (site / "reference" / page).is_file(), page


def builder(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that builds the site, under a name of its own, because there is a package `build`."""
    monkeypatch.syspath_prepend(BUILD.parent)
    spec = spec_from_file_location("docs_site_build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    found = module_from_spec(spec)
    spec.loader.exec_module(found)
    monkeypatch.delitem(sys.modules, "reference")
    return found


def test_what_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = builder(monkeypatch)
    (tmp_path / "index.html").write_text(
        """<html><head><link rel="stylesheet" href="https://fonts.example/a.css"><link rel="canonical" href="https://a/">
        <script src="//cdn.example/x.js"></script></head><body><a href="https://example.org/">elsewhere</a>
        <a href="gone.html">gone</a><a href="other.html#there">there</a><a href="other.html#nowhere">nowhere</a>
        <img src="lost.png"></body></html>"""
    )
    (tmp_path / "other.html").write_text('<h1 id="there">There</h1>')
    (tmp_path / "site.css").write_text("@import 'https://fonts.example/b.css'; a { background: url(data:,) }")
    assert sorted(build.faults(tmp_path)) == [
        "index.html: gone.html leads to no file",
        "index.html: loads //cdn.example/x.js",
        "index.html: loads https://fonts.example/a.css",
        "index.html: lost.png leads to no file",
        "index.html: other.html#nowhere leads to no anchor",
        "site.css: loads https://fonts.example/b.css",
    ]
    with pytest.raises(build.Wrong, match=r"docs/x\.md: the link gone\.md leads to no file"):
        build.linked("[a](gone.md)", Path("docs/x.md"), "x.md", {}, {})
    monkeypatch.setattr(build, "NAV", build.NAV[1:])
    (tmp_path / "pages").mkdir()
    with pytest.raises(build.Wrong, match=r"lacks: \['index\.md'\]"):
        build.stage(tmp_path / "pages")
