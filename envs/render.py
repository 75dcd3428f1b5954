"""Pictures of the world: which OpenGL backend works here, and frames as a video file.

MuJoCo picks its backend when it is imported, from MUJOCO_GL. `prepare` sets the variable before that import; where
nobody called it, `context` still takes a backend that works. Without one, everything but pictures works.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import TelosError

if TYPE_CHECKING:
    import numpy as np

VARIABLE = "MUJOCO_GL"
OFF = "disable"
BACKENDS = ("egl", "osmesa")  # in order of speed
APT = "apt-get install -y libegl1 libosmesa6"
PROBE_SECONDS = 60.0
FRAMES_PER_SECOND = 30

_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
renderer = mujoco.Renderer(model, 8, 8)
renderer.update_scene(mujoco.MjData(model))
assert renderer.render().shape == (8, 8, 3)
renderer.close()
print("renders")
"""


@cache
def probe(backend: str) -> bool:
    """Whether MuJoCo can render with this backend; tried in a process of its own, as it may crash."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, VARIABLE: backend},
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"renders" in done.stdout


def working_backend() -> str | None:
    """The backend to render with: the one MUJOCO_GL names, else the first that works; None without one."""
    wanted = os.environ.get(VARIABLE, "").lower()
    if wanted in ("disable", "disabled", "off", "false", "0"):
        return None
    return next((name for name in ((wanted,) if wanted else BACKENDS) if probe(name)), None)


def prepare(video: bool) -> str | None:
    """Choose MuJoCo's backend for this process; call it before mujoco is imported. None: no video."""
    if "mujoco" in sys.modules:
        return chosen()
    backend = working_backend() if video else None
    os.environ[VARIABLE] = backend or OFF
    return backend


def chosen() -> str | None:
    """The backend that MuJoCo took when it was imported, or None where rendering would crash."""
    if "mujoco.glfw" in sys.modules and os.environ.get("DISPLAY") and probe("glfw"):
        return "glfw"
    return next((name for name in BACKENDS if f"mujoco.{name}" in sys.modules), None)


def context(width: int, height: int) -> Any:
    """A GL context for pictures of at most this size, made current: from MuJoCo's backend, or one that works.

    Raises:
        TelosError: no backend works here.
    """
    backend = chosen() or working_backend()
    asked = os.environ.get(VARIABLE)
    if backend is None:
        given = (
            f"{VARIABLE}={asked}, which renders nothing" if asked else "neither EGL nor OSMesa, as neither works here"
        )
        raise TelosError("render", given, f"{VARIABLE}=egl or osmesa with its library ({APT})")
    try:
        made = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        made.make_current()
    except Exception as error:  # whatever a GL driver comes up with
        others = " or ".join(name for name in BACKENDS if name != backend)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TelosError("render", f"{backend}, which failed ({reason})", f"{VARIABLE}={others}") from error
    return made


def ffmpeg() -> str | None:
    """Where the ffmpeg of imageio-ffmpeg is, or None."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


def encoded(frames: Sequence[np.ndarray], rate: float = FRAMES_PER_SECOND) -> bytes:
    """Frames (h,w,3) uint8 as H.264 in MP4, which every browser plays. Needs `ffmpeg()`."""
    import imageio_ffmpeg

    height, width, _ = frames[0].shape
    options = ["-crf", "26", "-movflags", "+faststart"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "video.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(file),
            (width, height),
            fps=rate,  # pyright: ignore[reportArgumentType] - ffmpeg takes fractions
            macro_block_size=2,
            output_params=options,
        )
        writer.send(None)
        for frame in frames:
            writer.send(frame.tobytes())
        writer.close()
        return file.read_bytes()
