"""Compiles MuJoCo models quietly: each compiler warning about a user's model is logged once.

MuJoCo prints every warning of every compilation and simulation to the console, and to a file in the working directory.
A planner compiles one model many times, and simulates thousands of futures that diverge. These are counted instead
(`envs.physics.batch.BatchPhysics.diverged`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import mujoco


def quiet() -> None:
    """Keep MuJoCo from printing warnings, and from writing MUJOCO_LOG.TXT, in this process.

    A log file that the user chose stays in use.
    """
    config = mujoco.MjLogConfig.get()
    config.logto_console = False
    config.logto_file = config.logto_file and config.logfile != "MUJOCO_LOG.TXT"
    config.set()


def compiled(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """The compiled model, without showing compiler warnings. Raises what `MjSpec.compile` raises."""
    with _heard():
        return spec.compile()


def shrink_textures(spec: mujoco.MjSpec) -> None:
    """Make every texture one texel, in a spec whose model is only simulated.

    dm_control's sky alone takes 12 MB, in every copy that a batch makes of its model, and 60 to 90 ms per compilation.
    """
    for texture in spec.textures:
        if texture.builtin or texture.file or any(texture.cubefiles):
            texture.builtin = mujoco.mjtBuiltin.mjBUILTIN_FLAT
            texture.file, texture.cubefiles, texture.gridlayout = "", [""] * len(texture.cubefiles), []
            texture.width = texture.height = 1


def examined(file: str) -> mujoco.MjModel:
    """The compiled model of an MJCF file; each warning is logged once in this process.

    Raises:
        Exception: anything that MuJoCo's parser and compiler raise: ValueError, FatalError, UnicodeDecodeError and
            others.
    """
    with _heard() as said:
        model = mujoco.MjSpec.from_file(file).compile()
    for message in dict.fromkeys(said):
        _tell(message)
    return model


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collects the warnings of MuJoCo's parser and compiler, each as one line.

    Parser warnings arrive through a handler, compiler warnings through Python's `warnings`, and some through both.
    """
    quiet()
    said: list[str] = []
    handled: list[str] = []
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(handled.append)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield said
    finally:
        mujoco.set_mju_user_warning(before)
    compiler = [str(warning.message) for warning in caught]
    alone = [text for text in handled if not any(other.startswith(text) for other in compiler)]
    said.extend(" ".join(text.split()) for text in (*alone, *compiler))


@cache
def _tell(message: str) -> None:
    logging.getLogger("telos").warning("model: %s", message)
