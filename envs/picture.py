"""Pictures of one model, drawn off screen."""

from __future__ import annotations

import atexit
import weakref
from typing import Any

import mujoco
import numpy as np

from envs import render

MAX_GEOMS = 10_000  # in a scene, ours included


def prepare(model: mujoco.MjModel, width: int, height: int) -> None:
    """Write into the model what decides its pictures and never its physics: their size, and no shadows or
    multisampling, without which software rendering is about thirty times as fast."""
    model.vis.quality.shadowsize = 0
    model.vis.quality.offsamples = 0
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
    model.vis.global_.offheight = max(model.vis.global_.offheight, height)


class Picture:
    """A scene of the model, and the pixels that a camera sees of it.

    `mujoco.Renderer` would take the backend that MuJoCo chose at its import, whether it works or not.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        """
        Args:
            model: one that `prepare` was called for with at least this size.

        Raises:
            TelosError: nothing can be rendered here.
        """
        self._model = model
        self._gl = render.context(width, height)
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._option = mujoco.MjvOption()
        self._mjr = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._mjr)
        self.scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        # Handlers run last come, first served: this one before the one of mujoco.egl, which shuts EGL down.
        self._closing = weakref.finalize(self, _free, self._gl, self._mjr)
        self._closing.atexit = False
        atexit.register(self._closing)

    def update(self, data: mujoco.MjData, camera: mujoco.MjvCamera) -> None:
        """Put what the camera is to see of a state into the scene."""
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, camera, every, self.scene)

    def pixels(self) -> np.ndarray:
        """The scene as it stands, (height,width,3) uint8."""
        self._gl.make_current()
        pixels = np.empty((self._rectangle.height, self._rectangle.width, 3), np.uint8)
        mujoco.mjr_render(self._rectangle, self.scene, self._mjr)
        mujoco.mjr_readPixels(pixels, None, self._rectangle, self._mjr)
        return pixels[::-1].copy()  # OpenGL's rows begin at the bottom

    def close(self) -> None:
        """Free what OpenGL holds."""
        atexit.unregister(self._closing)
        self._closing()


def _free(gl: Any, mjr: mujoco.MjrContext) -> None:
    gl.make_current()
    mjr.free()
    gl.free()
