"""The README's animation: the quickstart with its imagined paths, beside the cheetah.

python -m benchmarks.quickstart.moving [--out docs/telos.gif]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from agent.command import run
from agent.config.load import load
from envs import render
from envs.errors import TelosError

SIZE = (480, 360)  # pixels of each scene before scaling
SCENES: tuple[tuple[str | None, dict[str, Any]], ...] = (
    ("quickstart", {"seed": 9, "frames": 140, "video.trace": True}),
    (None, {"task": "dm_control/cheetah-run-v0", "frames": 280, "planner.budget.evaluations": 300}),
)
# One palette for the whole animation; ordered dithering compresses well.
FILTER = (
    "[0:v]fps=15,scale=320:-1[a];[1:v]fps=15,scale=320:-1[b];[a][b]hstack,split[x][y];"
    "[x]palettegen=max_colors=96[p];[y][p]paletteuse=dither=bayer:bayer_scale=4"
)


def filmed(preset: str | None, changes: dict[str, Any], out: Path) -> Path:
    """The video of one episode. Raises TelosError if it cannot be made."""
    given = {"episodes": 1, "video.size": SIZE, **changes}
    config = load(preset, task=given.pop("task", None), overrides=given)
    video = run.run(config, out).video_file(0)
    if not video.exists():
        raise TelosError("video", "none", "a GL library and ffmpeg; `telos doctor` says what is missing")
    return video


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/telos.gif"))
    options = parser.parse_args()
    render.quiet_gl(video=True)
    ffmpeg = render.ffmpeg()
    with tempfile.TemporaryDirectory() as folder:
        videos = [filmed(*scene, Path(folder, str(index))) for index, scene in enumerate(SCENES)]
        inputs = [word for video in videos for word in ("-i", str(video))]
        subprocess.run([str(ffmpeg), "-v", "error", "-y", *inputs, "-lavfi", FILTER, str(options.out)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
