"""Running episodes, in this process or on Ray.

All episodes are run through the interface `Rollouts`. `Serial` runs them in this process, one after another;
`agent.rollouts.ray.RayRollouts` runs them on Ray. Both give the same rows, because an episode's randomness derives
only from its configuration and index.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager

from agent.rollouts.jobs import Job, Outcome, Rollouts, Watch, play, taking


class Serial:
    """Runs episodes in this process, in order."""

    def run(self, jobs: Iterable[Job], watch: Watch, stop: Callable[[], bool]) -> Generator[Outcome, None, None]:
        """See `Rollouts.run`."""
        with taking(jobs) as waiting:
            while not stop() and (job := next(waiting, None)) is not None:
                with closing(play(job, job.parcel.sha256)) as stream:
                    while True:
                        try:
                            watch(next(stream))
                        except StopIteration as end:
                            yield end.value
                            break


@contextmanager
def rollouts_for(workers: int | None, address: str | None, threads: int | None) -> Iterator[Rollouts]:
    """Yield what runs the episodes: Ray if workers or a cluster are asked for, otherwise this process.

    Raises:
        TelosError: fewer than 1 worker, more workers than the CPUs allow, or no cluster at that address.
    """
    if workers is None and address is None:
        yield Serial()
        return
    from agent.rollouts.ray import RayRollouts

    with closing(RayRollouts(workers, threads, address)) as ray:
        yield ray
