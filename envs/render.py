"""Rendering: finds an OpenGL backend that works on this machine, and encodes frames as a video file.

MuJoCo takes its backend from MUJOCO_GL when it is imported. `prepare` sets this variable before that import. Where
`prepare` was not called, `context` still finds a backend that works. Without a backend, everything but pictures works.
"""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
import tempfile
import warnings
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
QUALITY = "20"  # ffmpeg's constant rate factor for H.264: 18 looks lossless, 23 is its default

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
    """Whether MuJoCo can render with this backend; tried in a separate process, because it may crash."""
    clean = dict(os.environ)
    if any(f"mujoco.{name}" in sys.modules for name in BACKENDS):
        clean.pop("PYOPENGL_PLATFORM", None)  # an imported backend sets it, which rules out the other
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**clean, VARIABLE: backend},
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"renders" in done.stdout


def working_backend() -> str | None:
    """The backend to render with: that of MUJOCO_GL if set, else the first that works; None where none works."""
    wanted = os.environ.get(VARIABLE, "").lower()
    if wanted in ("disable", "disabled", "off", "false", "0"):
        return None
    return next((name for name in ((wanted,) if wanted else BACKENDS) if probe(name)), None)


def prepare(video: bool) -> str | None:
    """Choose MuJoCo's backend for this process, before mujoco is imported; None where no video is possible."""
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


def backend() -> str | None:
    """The backend that renders in this process: MuJoCo's own, or else one that works; None without one."""
    return chosen() or working_backend()


def context(width: int, height: int) -> Any:
    """A GL context for pictures of at most this size, made current, from `backend()`.

    Raises:
        TelosError: no backend works here.
    """
    name = backend()
    asked = os.environ.get(VARIABLE)
    if name is None:
        given = (
            f"{VARIABLE}={asked}, which renders nothing" if asked else "neither EGL nor OSMesa, as neither works here"
        )
        raise TelosError("render", given, f"{VARIABLE}=egl or osmesa with its library ({APT})")
    try:
        made = importlib.import_module(f"mujoco.{name}").GLContext(width, height)
        made.make_current()
    except Exception as error:  # GL drivers raise errors of many types
        others = " or ".join(other for other in BACKENDS if other != name)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TelosError("render", f"{name}, which failed ({reason})", f"{VARIABLE}={others}") from error
    return made


def ffmpeg() -> str | None:
    """The path of imageio-ffmpeg's ffmpeg, or None."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


class Encoder:
    """Encodes frames (h,w,3) uint8, one by one, as H.264 in MP4, which every browser plays; needs `ffmpeg()`."""

    def __init__(self, width: int, height: int, rate: float) -> None:
        """
        Args:
            width, height: of a frame, pixels, even.
            rate: frames per second.
        """
        import imageio_ffmpeg

        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "video.mp4"
        self._writer = imageio_ffmpeg.write_frames(
            str(self._file),
            (width, height),
            fps=rate,  # pyright: ignore[reportArgumentType] - ffmpeg takes fractions
            macro_block_size=2,
            output_params=["-crf", QUALITY, "-threads", "1", "-movflags", "+faststart"],
        )
        self._writer.send(None)

    def add(self, frame: np.ndarray) -> None:
        """Encode one more frame. Raises OSError where ffmpeg has exited."""
        self._writer.send(frame.tobytes())

    def finished(self) -> bytes:
        """The encoded file. Raises OSError or RuntimeError where ffmpeg failed."""
        try:
            self._writer.close()
            return self._file.read_bytes()
        finally:
            self.close()

    def close(self) -> None:
        """Stop ffmpeg and remove its file."""
        try:
            self._writer.close()
        finally:
            self._folder.cleanup()


def quiet_gl(video: bool) -> None:
    """Choose MuJoCo's GL backend before it is imported, and keep its import quiet."""
    warnings.filterwarnings("ignore", message="(overflow|invalid value) encountered")  # checked where it matters
    warnings.filterwarnings("ignore", module=r"(glfw|OpenGL|dm_control|gymnasium|shimmy|absl)\b")
    logging.getLogger("absl").setLevel(logging.ERROR)  # it warns of third-party XML, which the user cannot fix
    prepare(video)
