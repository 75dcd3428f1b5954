"""Jobs go in, outcomes come out: the nouns of running episodes, and how one job is played."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Protocol

import numpy as np

from agent.config.config import Config
from agent.rollouts.episode import Step
from agent.rollouts.parcel import Parcel, opened
from agent.rollouts.row import Row, Steps
from envs.errors import TelosError, Unplayable

PLAYER = "agent.rollouts.player:play"


@dataclass(frozen=True)
class Job:
    """One episode to run."""

    parcel: Parcel
    episode: int
    player: str = PLAYER  # "module:function", a `Player`; benchmarks have others than the agent


@dataclass(frozen=True, eq=False)
class Played:
    """What a player hands over at the end of an episode."""

    row: Row
    steps: Steps | None = None  # None where nobody wants to keep them
    video: bytes | None = None  # MP4
    notice: str = ""  # what the user should be told


@dataclass(frozen=True)
class Outcome:
    """A finished job."""

    job: Job
    played: Played


@dataclass(frozen=True, eq=False)
class Tick:
    """How far a running episode has come."""

    worker: int  # from 0
    episode: int
    steps: int  # control steps so far
    total: float  # return so far
    worst: np.ndarray  # (G,), least margin so far of each guardrail
    fallbacks: int = 0  # control steps so far in which the fallback acted


Watch = Callable[[Tick | str], None]
"""Called with the progress of running episodes, and with notices for the user."""


class Player(Protocol):
    """Plays one episode as the stream of its steps."""

    def __call__(self, config: Config, episode: int) -> Generator[Step, None, Played]: ...


class Rollouts(Protocol):
    """Runs episodes."""

    def run(self, jobs: Iterable[Job], watch: Watch, stop: Callable[[], bool]) -> Generator[Outcome, None, None]:
        """Every job's outcome, once, as it finishes; closing the iterator abandons what is running.

        Args:
            jobs: taken as they are needed, so there may be any number of them.
            watch: told about progress, and about what a user should know.
            stop: when it says yes, no further job begins; those that run are finished.
        """
        ...


def play(job: Job, sha256: str, worker: int = 0, threads: int | None = None) -> Generator[Tick | str, None, Outcome]:
    """One job as the stream of its progress, a tick per control step, and notices; returns its outcome.

    Args:
        sha256: the parcel's digest, as the sender says.
        worker: who plays.
        threads: C threads of this worker, over those of the configuration.

    Raises:
        GuardrailTampered: the rules that arrived are not those that were sent.
        Unplayable: what does not fit shows before the first step is done.
    """
    config = opened(job.parcel, sha256)
    if threads is not None:
        config = config.model_copy(update={"threads": threads})
    module, _, name = job.player.partition(":")
    player: Player = getattr(import_module(module), name)
    stream = player(config, job.episode)
    total, worst, fallbacks = 0.0, np.full(len(job.parcel.guardrails), np.inf), 0
    step = None
    while True:
        try:
            step = next(stream)
        except StopIteration as end:
            played: Played = end.value
            return Outcome(job, replace(played, row=replace(played.row, task=job.parcel.config.task)))
        except TelosError as error:
            if step is None and type(error) is TelosError:
                raise Unplayable(*error.args) from None
            raise
        if step.notice:
            yield f"episode {job.episode}: {step.notice}"
        total += step.reward
        worst = np.fmin(worst, step.margin)
        fallbacks += step.fallback
        yield Tick(worker, job.episode, step.index + 1, total, worst, fallbacks)
