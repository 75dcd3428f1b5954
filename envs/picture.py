"""Pictures of one model, rendered off screen."""

from __future__ import annotations

import atexit
import weakref
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from envs import camera, render

MAX_GEOMS = 10_000  # the most geoms in a scene, including drawn zones and paths
SMALL = 4  # factor, per side, by which pictures that only evaluate a camera are smaller


@dataclass(frozen=True)
class View:
    """Camera and size of a picture."""

    camera: str | int | None = None  # name or index; None chooses one that shows what moves (`envs.camera`)
    width: int = 640  # pixels
    height: int = 480  # pixels


def prepare(model: mujoco.MjModel, view: View) -> None:
    """Write rendering settings into the model, without effect on its physics.

    They are the picture size, a light where the model has none, and neither shadows nor multisampling, without which
    software rendering is about thirty times as fast.

    Raises:
        TelosError: a camera that the model lacks.
    """
    camera.check(model, view.camera)
    if model.nlight == 0:
        model.vis.headlight.active = 1
    model.vis.quality.shadowsize = 0
    model.vis.quality.offsamples = 0
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, view.width)
    model.vis.global_.offheight = max(model.vis.global_.offheight, view.height)


class Picture:
    """A scene of the model, and its pixels as seen by a camera.

    Used instead of `mujoco.Renderer`, which takes the backend that MuJoCo chose when it was imported, even if that
    backend does not work.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, view: View) -> None:
        """
        Args:
            model: a model on which `prepare` was called with this view.
            data: the state for which a camera is chosen, where the view names none.

        Raises:
            TelosError: nothing can be rendered here.
        """
        self._model = model
        self._gl = render.context(view.width, view.height)
        self._rectangle = mujoco.MjrRect(0, 0, view.width, view.height)
        self._option = mujoco.MjvOption()
        self._mjr = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._mjr)
        self.scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        # Exit handlers run in reverse order of registration: this one runs before that of mujoco.egl, which shuts EGL
        # down.
        self._closing = weakref.finalize(self, _free, self._gl, self._mjr)
        self._closing.atexit = False
        atexit.register(self._closing)
        self.camera = camera.of(model, data, view.camera, lambda through: self._seen(data, through))

    def update(self, data: mujoco.MjData) -> None:
        """Update the scene to a state, as seen by the camera."""
        self._look(data, self.camera)

    def pixels(self) -> np.ndarray:
        """The present scene, rendered, (height,width,3) uint8."""
        return self._drawn(self._rectangle)

    def _look(self, data: mujoco.MjData, through: mujoco.MjvCamera) -> None:
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, through, every, self.scene)

    def _drawn(self, rectangle: mujoco.MjrRect) -> np.ndarray:
        self._gl.make_current()
        pixels = np.empty((rectangle.height, rectangle.width, 3), np.uint8)
        mujoco.mjr_render(rectangle, self.scene, self._mjr)
        mujoco.mjr_readPixels(pixels, None, rectangle, self._mjr)
        return pixels[::-1].copy()  # OpenGL's rows begin at the bottom

    def _seen(self, data: mujoco.MjData, through: mujoco.MjvCamera) -> float:
        """The share of a camera's pixels that show parts moved by joints."""
        self._look(data, through)
        flags = (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR)
        for flag in flags:
            self.scene.flags[flag] = 1
        width, height = (max(1, side // SMALL) for side in (self._rectangle.width, self._rectangle.height))
        colours = self._drawn(mujoco.MjrRect(0, 0, width, height)).astype(np.int64)
        for flag in flags:
            self.scene.flags[flag] = 0
        number = colours @ [1, 256, 65536]  # an object's colour encodes its segid + 1
        moves = [geom.segid + 1 for geom in self.scene.geoms[: self.scene.ngeom] if self._moves(geom)]
        return float(np.isin(number, moves).mean())

    def _moves(self, geom: mujoco.MjvGeom) -> bool:
        """Whether a geom of the scene, a skin or a flex is moved by joints."""
        if geom.objtype == int(mujoco.mjtObj.mjOBJ_GEOM):
            return bool(camera.moving(self._model)[geom.objid])
        return geom.objtype in (int(mujoco.mjtObj.mjOBJ_SKIN), int(mujoco.mjtObj.mjOBJ_FLEX))

    def close(self) -> None:
        """Free the OpenGL resources."""
        atexit.unregister(self._closing)
        self._closing()


def _free(gl: Any, mjr: mujoco.MjrContext) -> None:
    gl.make_current()
    mjr.free()
    gl.free()
