"""Starts a Ray of its own, and prints as JSON where its processes listen and which folders it has made."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from agent.ray_rollouts import RayRollouts

LISTENING = "0A"  # a state in /proc/net/tcp


def family() -> list[Path]:
    """This process and its descendants, in /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return [Path("/proc") / str(pid) for pid in found]


def listening() -> list[str]:
    """Addresses, in hexadecimal, on which this process and its descendants accept connections."""
    sockets: set[str] = set()
    for process in family():
        with suppress(OSError):
            sockets |= {os.readlink(descriptor) for descriptor in (process / "fd").iterdir()}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in (Path("/proc/net") / name).read_text().splitlines()[1:]
    ]
    return [line[1].split(":")[0] for line in lines if line[3] == LISTENING and f"socket:[{line[9]}]" in sockets]


def folders() -> list[str]:
    return sorted(path.name for path in Path(tempfile.gettempdir()).glob("*ray*"))


def main() -> None:
    rollouts = RayRollouts(1)
    rollouts.muster()
    found = {"listening": listening(), "folders": folders()}
    rollouts.close()
    print(json.dumps({**found, "left": folders()}))


if __name__ == "__main__":
    main()
