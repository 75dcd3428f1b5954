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
from envs.task import Snapshot

MAX_FRAMES = 450  # of a video; a longer episode is shown faster


@dataclass(frozen=True)
class Shot:
    """What a frame is to show."""

    state: np.ndarray  # (S,)
    start: Snapshot  # believed, from which the plan was imagined
    actions: Tensor  # (H,A), the plan


class Film:
    """The frames of one episode. What fails here ends the film, never the episode."""

    def __init__(self, env: Environment, frames: int, tracer: Tracer | None = None, later: bool = False) -> None:
        """
        Args:
            env: what is filmed.
            frames: control steps of the episode, at most.
            tracer: of the imagined futures that are drawn; none are where None.
            later: draw when the film is developed, as in real time the world does not wait for a picture.
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
        """Film the world as it is when control step `step` begins, and what was decided for it."""
        if self.notice or step % self._every:
            return
        self._shots.append(Shot(self._env.snapshot().state, decision.problem.start, decision.plan.actions))
        if not self._later:
            self._draw()

    def _draw(self) -> None:
        """Draw the shots that were taken, into the video."""
        try:
            for shot in self._shots:
                paths = () if self._tracer is None else self._tracer.paths(shot.start, shot.actions)
                frame = self._env.show(shot.state, paths)
                if self._encoder is None:
                    height, width, _ = frame.shape
                    self._encoder = render.Encoder(width, height, self.rate)
                self._encoder.add(frame)
                self._blank = self._blank and bool((frame == frame[0, 0]).all())
        except Exception as error:  # whatever a GL driver or ffmpeg comes up with
            self.notice = f"no video: {_line(error)}; `telos doctor` says more"
            self.close()
        self._shots.clear()

    def developed(self) -> bytes | None:
        """The video as MP4, or None where there is none; `notice` says what is wrong with it."""
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
        """Throw away what was not developed."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None


def wanted(video: VideoConfig, episode: int) -> bool:
    """Whether this episode is to be filmed."""
    return video.which == "all" or (video.which == "first" and episode == 0)


def missing() -> str:
    """Why no video can be made here; "" where one can."""
    reason = "no GL library" if render.backend() is None else ""
    if not reason and render.ffmpeg() is None:
        reason = "imageio-ffmpeg is not installed"
    return f"no video: {reason}; `telos doctor` says more" if reason else ""


def frame_rate(frames: int, period: float) -> tuple[int, float]:
    """Every how many control steps a frame is taken, and frames per second of the video."""
    every = max(1, round(1 / (render.FRAMES_PER_SECOND * period)), -(-frames // MAX_FRAMES))
    return every, min(float(render.FRAMES_PER_SECOND), 1 / (every * period))


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
