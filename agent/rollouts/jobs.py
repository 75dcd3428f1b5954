"""The data types for running episodes (jobs, ticks, outcomes), and `play`, which runs one job."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Protocol

import numpy as np

from agent.config.resolved import Resolved
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
    player: str = PLAYER  # "module:function", a `Player`; benchmarks use their own


@dataclass(frozen=True, eq=False)
class Played:
    """What a player returns at the end of an episode."""

    row: Row
    steps: Steps | None = None  # None if they are not kept
    video: bytes | None = None  # MP4
    notice: str = ""  # a message for the user


@dataclass(frozen=True)
class Outcome:
    """A finished job."""

    job: Job
    played: Played


@dataclass(frozen=True, eq=False)
class Tick:
    """The progress of a running episode."""

    worker: int  # number of the worker, from 0
    episode: int
    steps: int  # control steps so far
    total: float  # return so far
    worst: np.ndarray  # (G,), least margin so far of each guardrail
    fallbacks: int = 0  # control steps so far in which the fallback acted


Watch = Callable[[Tick | str], None]
"""Called with the progress of running episodes, and with notices for the user."""


class Player(Protocol):
    """Runs one episode: yields its steps, and returns its result."""

    def __call__(self, resolved: Resolved, episode: int) -> Generator[Step, None, Played]: ...


class Rollouts(Protocol):
    """Runs episodes."""

    def run(self, jobs: Iterable[Job], watch: Watch, stop: Callable[[], bool]) -> Generator[Outcome, None, None]:
        """Yield each job's outcome once, as it finishes; closing the iterator abandons the running jobs.

        A job is taken only when a worker is free for it. So of the jobs taken, at most as many have no outcome yet as
        there are workers (one in this process), and a generator may make each job from the outcomes yielded so far.
        It is called in this process, between two outcomes; to wait in it for an outcome would be to wait for ever.

        Args:
            jobs: any number of them, even without end. A generator is closed when the run ends, in whatever way; what
                it raises is raised here, and ends the run.
            watch: called with progress, and with notices for the user.
            stop: once it returns True, no further job is taken or begins; the running jobs are finished.
        """
        ...


@contextmanager
def taking(jobs: Iterable[Job]) -> Iterator[Iterator[Job]]:
    """Yield an iterator over the jobs. At the end it is closed, if it is a generator."""
    iterator = iter(jobs)
    try:
        yield iterator
    finally:
        if isinstance(iterator, Generator):
            iterator.close()


def play(job: Job, sha256: str, worker: int = 0, threads: int | None = None) -> Generator[Tick | str, None, Outcome]:
    """Run one job: yield a tick per control step, and notices; return the outcome.

    Args:
        sha256: the parcel's digest as the sender stated it.
        worker: number of the worker that runs the job.
        threads: C threads of this worker; overrides the configuration's number.

    Raises:
        GuardrailTampered: the parcel or its rules are not those that were sent.
        Unplayable: the job does not fit the task. Raised for a TelosError (no subclass) before the first step is done.
    """
    try:
        resolved = opened(job.parcel, sha256)
    except TelosError as error:
        if type(error) is TelosError:
            raise Unplayable(*error.args) from None
        raise
    if threads is not None:
        resolved = replace(resolved, config=resolved.config.model_copy(update={"threads": threads}))
    module, _, name = job.player.partition(":")
    player: Player = getattr(import_module(module), name)
    stream = player(resolved, job.episode)
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
