from __future__ import annotations

from agent.rundir import RunDir


def write_report(rundir: RunDir) -> None: ...
