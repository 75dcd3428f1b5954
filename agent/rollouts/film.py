"""The video of an episode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from agent.agent import Decision
from agent.config.config import VideoConfig
from agent.rollouts.trace import Tracer
from envs import render
from envs.environment import Environment
from worldmodels.belief import Belief

MAX_FRAMES = 450  # per video; longer episodes are played faster


@dataclass(frozen=True)
class Shot:
    """The content of one frame."""

    state: np.ndarray  # (S,)
    start: Belief  # the belief at which the plan starts
    actions: Tensor  # (H,A), the plan


class Film:
    """The frames of one episode. An error here ends the film, never the episode."""

    def __init__(self, env: Environment, frames: int, tracer: Tracer | None = None, later: bool = False) -> None:
        """
        Args:
            env: the environment to film.
            frames: maximum number of control steps of the episode.
            tracer: computes the imagined paths to draw; None draws none.
            later: draw all frames in `developed`. Used in real time, where the world does not wait for drawing.
        """
        self._env = env
        self._tracer = tracer
        self._later = later
        self._every, self.rate = frame_rate(frames, env.interface.control_period)
        self._shots: list[Shot] = []
        self._encoder: render.Encoder | None = None
        self._blank = True
        self.notice = ""

    def take(self, step: int, decision: Decision) -> None:
        """Record the world at the start of control step `step`, and the plan for it, if the step gets a frame."""
        if self.notice or step % self._every:
            return
        self._shots.append(Shot(self._env.snapshot().state, decision.problem.start, decision.plan.actions))
        if not self._later:
            self._draw()

    def _draw(self) -> None:
        """Draw the recorded shots into the video."""
        try:
            for shot in self._shots:
                paths = () if self._tracer is None else self._tracer.paths(shot.start, shot.actions)
                frame = self._env.show(shot.state, paths)
                if self._encoder is None:
                    height, width, _ = frame.shape
                    self._encoder = render.Encoder(width, height, self.rate)
                self._encoder.add(frame)
                self._blank = self._blank and bool((frame == frame[0, 0]).all())
        except Exception as error:  # GL drivers and ffmpeg raise many types
            self.notice = f"no video: {_line(error)}; `telos doctor` says more"
            self.close()
        self._shots.clear()

    def developed(self) -> bytes | None:
        """The video as MP4, or None if there is none; `notice` then says why, or what is wrong with the video."""
        self._draw()
        if self._encoder is None:
            return None
        try:
            video = self._encoder.finished()
        except (OSError, RuntimeError) as error:
            self.notice = f"no video: {_line(error)}"
            return None
        if self._blank:
            self.notice = "video: every frame is of one colour, so its camera sees nothing; video.camera names another"
        return video

    def close(self) -> None:
        """Discard a video that was not finished."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None


def wanted(video: VideoConfig, episode: int) -> bool:
    """Whether the user asked for a video of this episode."""
    return video.which == "all" or (video.which == "first" and episode == 0)


def missing() -> str:
    """Why no video can be made on this machine; "" if one can."""
    reason = "no GL library" if render.backend() is None else ""
    if not reason and render.ffmpeg() is None:
        reason = "imageio-ffmpeg is not installed"
    return f"no video: {reason}; `telos doctor` says more" if reason else ""


def frame_rate(frames: int, period: float) -> tuple[int, float]:
    """The number of control steps per frame, and the video's frames per second.

    Args:
        frames: maximum number of control steps of the episode.
        period: control period, s.
    """
    every = max(1, round(1 / (render.FRAMES_PER_SECOND * period)), -(-frames // MAX_FRAMES))
    return every, min(float(render.FRAMES_PER_SECOND), 1 / (every * period))


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
