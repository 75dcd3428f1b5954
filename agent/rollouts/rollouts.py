"""Running episodes: jobs go in, outcomes come out as they finish, wherever they ran.

Whatever runs episodes goes through `Rollouts`. `Serial` runs them here, one after another; the other
implementation is `agent.rollouts.ray.RayRollouts`. Both write the same rows: an episode's randomness derives
from its configuration and index, never from who ran it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager

from agent.rollouts.jobs import Job, Outcome, Rollouts, Watch, play


class Serial:
    """In this process, in order."""

    def run(self, jobs: Iterable[Job], watch: Watch, stop: Callable[[], bool]) -> Generator[Outcome, None, None]:
        """See `Rollouts.run`."""
        for job in jobs:
            if stop():
                return
            stream = play(job, job.parcel.sha256)
            while True:
                try:
                    watch(next(stream))
                except StopIteration as end:
                    yield end.value
                    break


@contextmanager
def rollouts_for(workers: int | None, address: str | None, threads: int | None) -> Iterator[Rollouts]:
    """Who runs the episodes: this process, or Ray where workers or a cluster are asked for.

    Raises:
        TelosError: more workers than CPUs, or no cluster at that address.
    """
    if workers is None and address is None:
        yield Serial()
        return
    from agent.rollouts.ray import RayRollouts

    with closing(RayRollouts(workers, threads, address)) as ray:
        yield ray
