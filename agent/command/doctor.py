"""`telos doctor`: checks whether this machine has what telos needs, and says what to do if not."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.markup import escape

from agent import provenance
from envs import render
from envs.errors import TelosError

Mark = Literal["ok", "missing", "note"]
MARKS = {"ok": "[green]ok  [/]", "missing": "[red]FAIL[/]", "note": "[yellow]note[/]"}


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    mark: Mark  # "note": only videos do not work
    found: str
    remedy: str = ""  # what the user should do; "" for nothing


def examine() -> tuple[Finding, ...]:
    """Run all checks; none changes anything."""
    return (*_python(), *_packages(), _ours(), _cpus(), *_video())


def show(findings: tuple[Finding, ...], console: Console) -> int:
    """Print the findings, and return the exit status: 0 unless something that telos needs is missing."""
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        line = f"{MARKS[finding.mark]} {finding.what:{width}}  {escape(finding.found)}"
        console.print(line, highlight=False, soft_wrap=True)
        if finding.remedy:
            console.print(f"     {'':{width}}  -> {finding.remedy}", highlight=False, markup=False, soft_wrap=True)
    failed = sum(finding.mark == "missing" for finding in findings)
    notes = sum(finding.mark == "note" for finding in findings)
    if failed:
        text = f"{failed} to mend before telos can be used"
    else:
        text = "telos can be used" + (", without video" if notes else "")
    console.print(text, highlight=False)
    return 1 if failed else 0


def _python() -> tuple[Finding, ...]:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036 - this check reports an old Python
        return (Finding("python", "missing", found, "Python 3.11 or newer"),)
    return (Finding("python", "ok", found),)


def _packages() -> tuple[Finding, ...]:
    from packaging.requirements import Requirement

    findings = []
    for line in provenance.requirements():
        requirement = Requirement(line)
        installed, wanted = provenance.version(requirement.name), str(requirement.specifier)
        if installed is None:
            remedy = f"pip install '{line}'"
            findings.append(Finding(requirement.name, "missing", f"not installed, needs {wanted}", remedy))
        elif not requirement.specifier.contains(installed, prereleases=True):
            remedy = f"pip install '{line}'"
            findings.append(Finding(requirement.name, "missing", f"{installed}, needs {wanted}", remedy))
        else:
            findings.append(Finding(requirement.name, "ok", f"{installed} ({wanted})"))
    return tuple(findings)


def _ours() -> Finding:
    try:
        provenance.check_packages()
    except TelosError as error:
        return Finding("telos packages", "missing", str(error), "uninstall what shadows it")
    found = f"telos {provenance.telos_version()}, all {len(provenance.PACKAGES)} packages from {provenance.ROOT}"
    return Finding("telos packages", "ok", found)


def _cpus() -> Finding:
    usable = len(os.sched_getaffinity(0))
    return Finding("CPUs", "ok", f"{usable} of {os.cpu_count()} usable by this process")


def _video() -> tuple[Finding, ...]:
    asked = os.environ.get(render.VARIABLE)
    backend = render.working_backend()
    if backend:
        gl = Finding("GL library", "ok", f"{backend} renders")
    elif asked:
        gl = Finding("GL library", "note", f"{render.VARIABLE}={asked} does not render", f"unset {render.VARIABLE}")
    else:
        gl = Finding("GL library", "note", "neither EGL nor OSMesa renders: no video", render.APT)
    path = render.ffmpeg()
    if path:
        return gl, Finding("ffmpeg", "ok", path)
    return gl, Finding("ffmpeg", "note", "no imageio-ffmpeg: no video", "pip install 'imageio-ffmpeg>=0.6'")
