"""Running episodes on Ray, across the CPUs of this machine or of a cluster. Only this file uses Ray.

The driver gives each worker one episode at a time, so that a fast worker gets more of them. A parcel goes into the
object store once. Workers stream progress and outcomes back, and only the driver writes to disk. If a worker or a
node dies, or a worker stops responding, its episode starts again on another worker. The result is the same, because
an episode's randomness derives from its configuration and index.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent import provenance
from agent.rollouts.jobs import Job, Outcome, Tick, Watch, play, taking
from agent.rollouts.supervisor import ray_folder
from envs.errors import TelosError
from envs.physics.batch import cpus

TICK = 0.5  # s, minimum between two ticks of a running episode
TICKS = 100  # maximum ticks per second from all workers together, so that they do not keep the driver busy
POLL = 0.25  # s
SWEEPS = 8  # attempts to remove a cluster's files
PROBE = 2.0  # s between two checks whether Ray's own processes are alive
START = 180.0  # s without any working worker after which the run is given up


@dataclass
class _Worker:
    """The driver's record of a worker process, which is starting, waiting for a job, or running one."""

    number: int
    actor: Any
    versions: Any  # Ray reference to the versions of its code; None once the worker is up
    job: Job | None = None
    stream: Any = None  # the job's ticks and outcome
    heard: float = 0.0  # time of its last message on the monotonic clock, s
    pulse: Any = None  # Ray reference to a pending sign of life


@dataclass
class _Run:
    """The state of one call of `run`."""

    jobs: Iterator[Job]  # not yet taken
    watch: Watch
    waiting: deque[Job] = field(default_factory=deque)  # for a free worker: taken from `jobs`, or lost with a worker
    parcels: dict[str, Any] = field(default_factory=dict)  # digest -> Ray reference to the parcel in the object store
    lost: Counter[str] = field(default_factory=Counter)  # episode -> how often it lost its worker
    heard: float = field(default_factory=time.monotonic)  # when any worker last came up or was found alive
    raised: BaseException | None = None  # by the iterator of jobs

    def take(self, most: int) -> None:
        """Take jobs until `most` of them wait, or none are left. Raises what their iterator raises."""
        try:
            while len(self.waiting) < most and (job := next(self.jobs, None)) is not None:
                self.waiting.append(job)
        except BaseException as error:
            self.raised = error
            raise


class Player:
    """Runs in a worker process: runs one job at a time, and answers requests for a sign of life meanwhile."""

    def __init__(self, threads: int, tick: float) -> None:
        from envs.render import quiet_gl

        quiet_gl(video=True)
        import torch

        torch.set_num_threads(threads)
        self._threads, self._tick = threads, tick

    def versions(self) -> dict[str, str]:
        """The versions of the software that decides the numbers."""
        return provenance.versions()

    def pulse(self) -> bool:
        """Answer a request for a sign of life."""
        return True

    def play(self, parcel: Any, sha256: str, episode: int, player: str, worker: int) -> Generator[Any, None, None]:
        """Yield notices, a tick from time to time, and finally the played episode."""
        last = time.monotonic()
        stream = play(Job(parcel, episode, player), sha256, worker, self._threads)
        while True:
            try:
                tick = next(stream)
            except StopIteration as end:
                yield end.value.played
                return
            if isinstance(tick, str):
                yield tick
            elif time.monotonic() - last >= self._tick:
                last = time.monotonic()
                yield tick


class RayRollouts:
    """Runs episodes on Ray; see `agent.rollouts.jobs.Rollouts`. Outcomes come as they finish, in any order."""

    def __init__(
        self,
        workers: int | None = None,
        threads: int | None = None,
        address: str | None = None,
        attempts: int = 5,
        patience: float = 60.0,
    ) -> None:
        """
        Args:
            workers: number of processes; None means as many as the CPUs allow.
            threads: CPUs reserved for each worker, and C threads that it uses. None means 1 on a given cluster or
                without `workers`; otherwise this machine's CPUs are divided among the workers.
            address: of a running cluster; None starts one on this machine.
            attempts: the run is given up when one episode has lost its worker this many times.
            patience: s without a sign of life after which a worker is given up.

        Raises:
            TelosError: fewer than 1 worker, more workers than the CPUs allow, or no cluster at that address.
        """
        if workers is not None and workers < 1:
            raise TelosError("--workers", workers, ">= 1")
        if threads is None:
            threads = 1 if address is not None or workers is None else max(1, cpus() // workers)
        self.threads, self.attempts, self.patience = threads, attempts, patience
        self._folder = None if address is not None else ray_folder()  # files of a cluster that we start
        self._ray: Any = None
        try:
            self._ray = _connected(address, workers, threads, self._folder)
            self.workers, self._doors = self._examined(workers)
        except BaseException:  # nobody else knows this cluster yet
            if self._ray is not None:
                self._ray.shutdown()
            self._sweep()
            raise
        options = {"num_cpus": threads, "max_restarts": 0, "max_task_retries": 0}
        groups = self._ray.remote(concurrency_groups={"pulse": 1}, **options)
        self._class = groups(_with_groups(self._ray, Player))
        self._staff: list[_Worker] = []
        self._probed = time.monotonic()
        self._gone = False  # whether Ray itself died; its API must not be called then

    def _examined(self, workers: int | None) -> tuple[int, dict[str, tuple[str, int]]]:
        """The number of workers, and the doors of Ray's own processes. Raises TelosError as the constructor does."""
        try:
            there = int(self._ray.cluster_resources().get("CPU", 0))
            doors = _doors(self._ray)
        except Exception as error:  # Ray raises many types of its own
            raise _broken(error) from None
        wanted = workers or max(1, there // self.threads)
        if wanted * self.threads > there:
            allowed = f"1 to {there // self.threads}, with {self.threads} of {there} CPUs each"
            raise TelosError("--workers", workers, allowed)
        return wanted, doors

    def close(self) -> None:
        """Stop all workers. If we started the cluster, stop it and remove its files."""
        if self._gone:  # the rest of a cluster that we started ends with this process
            atexit.unregister(self._ray.shutdown)
        else:
            self._dismiss(self._staff)
            self._ray.shutdown()
        self._sweep()

    def _sweep(self) -> None:
        """Remove the files of a cluster that we started; repeat, because its last processes may still add some."""
        for _ in range(SWEEPS):
            if self._folder is None or not self._folder.exists():
                return
            shutil.rmtree(self._folder, ignore_errors=True)
            time.sleep(POLL)

    def run(self, jobs: Iterable[Job], watch: Watch, stop: Callable[[], bool]) -> Generator[Outcome, None, None]:
        """See `Rollouts.run`.

        Raises:
            TelosError: an episode raised it, one episode lost `attempts` workers, no worker came up, or Ray failed.
        """
        with taking(jobs) as waiting:
            yield from self._run(_Run(waiting, watch), stop)

    def _run(self, run: _Run, stop: Callable[[], bool]) -> Generator[Outcome, None, None]:
        try:
            while True:
                self._insist_on_ray()
                if not stop():
                    run.take(self.workers - sum(worker.job is not None for worker in self._staff))
                    self._hand_out(run)
                if all(worker.job is None for worker in self._staff) and (not run.waiting or stop()):
                    return
                pending = self._pending()
                for reference in self._ready(list(pending)):
                    outcome = self._heard(pending[reference], run)
                    if outcome is not None:
                        yield outcome
                self._look_after(run)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            if error is run.raised:  # not by our use of Ray
                raise
            self._gone = True
            raise _broken(error) from None
        finally:
            self._dismiss([worker for worker in self._staff if worker.job is not None])

    def _pending(self) -> dict[Any, _Worker]:
        """Ray reference -> worker, for all workers that run a job or are starting."""
        playing = {worker.stream: worker for worker in self._staff if worker.job is not None}
        return playing | {worker.versions: worker for worker in self._staff if worker.versions is not None}

    def _ready(self, pending: list[Any]) -> list[Any]:
        """Wait until a reference is ready and return all that are; empty after `POLL` seconds without one."""
        first, _ = self._ray.wait(pending, timeout=POLL, fetch_local=False)
        if not first:
            return []
        ready, _ = self._ray.wait(pending, num_returns=len(pending), timeout=0, fetch_local=False)
        return ready

    def muster(self) -> None:
        """Start all workers and wait until they are up. Call this before timing anything: starting takes seconds.

        Raises:
            TelosError: a worker has other code, no worker comes up, or Ray's own processes have died.
        """
        run = _Run(iter(()), lambda event: None)
        while True:
            self._insist_on_ray()
            self._start(self.workers)  # also replaces workers that died while starting
            coming = {worker.versions: worker for worker in self._staff if worker.versions is not None}
            if not coming:
                return
            for reference in self._ready(list(coming)):
                self._heard(coming[reference], run)
            self._look_after(run)

    def _start(self, wanted: int) -> None:
        """Start workers until there are `wanted`, but never more than `self.workers`."""
        numbers = {worker.number for worker in self._staff}
        for number in range(min(self.workers, wanted)):
            if number not in numbers and len(self._staff) < wanted:
                actor = self._class.remote(self.threads, max(TICK, self.workers / TICKS))
                self._staff.append(_Worker(number, actor, actor.versions.remote()))

    def _hand_out(self, run: _Run) -> None:
        """Start the missing workers, and give a waiting job to each idle worker."""
        self._start(sum(worker.job is not None for worker in self._staff) + len(run.waiting))
        for worker in self._staff:
            if run.waiting and worker.versions is None and worker.job is None:
                job = run.waiting.popleft()
                sha256 = job.parcel.sha256
                if sha256 not in run.parcels:
                    run.parcels[sha256] = self._ray.put(job.parcel)
                play = worker.actor.play.options(num_returns="streaming")
                worker.stream = play.remote(run.parcels[sha256], sha256, job.episode, job.player, worker.number)
                worker.job, worker.heard, worker.pulse = job, time.monotonic(), None

    def _heard(self, worker: _Worker, run: _Run) -> Outcome | None:
        """Handle one message of a worker; return an outcome if its episode ended."""
        try:
            if worker.versions is not None:
                _insist_on_versions(worker, self._ray.get(worker.versions, timeout=self.patience))
                worker.versions, run.heard = None, time.monotonic()
                return None
            item = self._ray.get(next(worker.stream), timeout=self.patience)
        except StopIteration:
            self._bury(worker, "ended without an outcome", run)
            return None
        except self._ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self._ray.exceptions.RayError as error:
            self._bury(worker, _reason(error), run)
            return None
        worker.heard, worker.pulse = time.monotonic(), None
        if isinstance(item, Tick | str):
            run.watch(item)
            return None
        job, worker.job, worker.stream = worker.job, None, None
        assert job is not None
        return Outcome(job, item)

    def _insist_on_ray(self) -> None:
        """Raise TelosError if Ray's own processes have died. Otherwise Ray would end this process without a reason."""
        if time.monotonic() - self._probed < PROBE:
            return
        for name, (host, port) in self._doors.items():
            try:
                socket.create_connection((host, port), timeout=PROBE).close()
            except ConnectionRefusedError:
                self._gone = True
                given = f"its {name} at {host}:{port} is gone"
                raise TelosError("Ray", given, "a cluster that runs; `telos resume DIR` finishes a run") from None
            except OSError:  # a slow or unstable network, which Ray itself tolerates for longer
                continue
        self._probed = time.monotonic()

    def _look_after(self, run: _Run) -> None:
        """Give up workers that stopped responding. Raises TelosError if no worker is up for `START` seconds."""
        for worker in [worker for worker in self._staff if worker.job is not None]:
            if self._stands_still(worker):
                self._bury(worker, "stands still", run)
            else:
                run.heard = time.monotonic()
        if time.monotonic() - run.heard > START:
            free = self._ray.available_resources().get("CPU", 0)
            given = f"none of {self.workers} came up within {START:.0f} s ({free:g} CPUs are free)"
            raise TelosError("workers", given, f"a cluster with {self.threads} free CPUs per worker")

    def _stands_still(self, worker: _Worker) -> bool:
        """Whether a worker has been silent for `patience` seconds and did not answer a request for a sign of life."""
        silent = time.monotonic() - worker.heard
        if silent < self.patience / 4:
            return False
        if worker.pulse is None:
            worker.pulse = worker.actor.pulse.remote()
        answered, _ = self._ray.wait([worker.pulse], timeout=0)
        if answered:
            worker.heard, worker.pulse = time.monotonic(), None  # also ready if it died; its stream reports that
            return False
        return silent >= self.patience

    def _bury(self, worker: _Worker, why: str, run: _Run) -> None:
        """Give up a worker and put its episode first in the queue. Raises TelosError if it lost too many workers."""
        self._dismiss([worker])
        job = worker.job
        if job is None:
            run.watch(f"worker {worker.number}: {why}; another one takes its place")
            return
        key = f"{job.parcel.sha256} {job.episode}"
        run.lost[key] += 1
        where, losses = f"worker {worker.number}, episode {job.episode}", run.lost[key]
        if losses >= self.attempts:
            allowed = f"fewer than {self.attempts} lost workers; memory, disk and logs of that machine may tell why"
            raise TelosError(where, f"{why}, {losses} times", allowed)
        run.watch(f"{where}: {why}; the episode begins again ({losses} of at most {self.attempts - 1} losses)")
        run.waiting.appendleft(job)

    def _dismiss(self, workers: Sequence[_Worker]) -> None:
        for worker in workers:
            self._kill(worker)
        self._staff = [worker for worker in self._staff if worker not in workers]

    def _kill(self, worker: _Worker) -> None:
        if not self._gone:
            with contextlib.suppress(Exception):  # the worker may be dead already
                self._ray.kill(worker.actor)


def _insist_on_versions(worker: _Worker, theirs: Mapping[str, str]) -> None:
    """Raise TelosError for a worker with other versions, because its rows would mean something else."""
    for name, ours in provenance.versions().items():
        if theirs.get(name) != ours:
            raise TelosError(f"worker {worker.number}", f"{name} {theirs.get(name)}", f"{name} {ours}, as here")


def _with_groups(ray: Any, player: type[Player]) -> type[Any]:
    """The class as a Ray worker, with `pulse` in its own thread so that it answers while a job runs."""

    class Remote(player):  # pyright: ignore[reportUntypedBaseClass]
        pulse = ray.method(concurrency_group="pulse")(player.pulse)

    Remote.__name__ = Remote.__qualname__ = "TelosWorker"
    return Remote


def _connected(address: str | None, workers: int | None, threads: int, folder: Path | None) -> Any:
    """Ray, connected to a cluster, or to a new one with files in `folder`. Raises TelosError if it cannot connect."""
    # Ray reads these variables when it is imported, and its processes read them when they start.
    if address is None:
        # Our cluster is only for this machine: without this, Linux nodes listen on every network interface.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # Our workers are actors, so prestarted workers would never be used.
        os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
        if "RAY_AUTH_MODE" not in os.environ:  # a random token keeps other users of this machine out
            os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray

    terminate = signal.getsignal(signal.SIGTERM)
    try:
        return _initialised(ray, address, workers, threads, folder)
    finally:  # Ray installs its own SIGTERM handler: restore ours
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, terminate)


def _initialised(ray: Any, address: str | None, workers: int | None, threads: int, folder: Path | None) -> Any:
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address is None:
        if workers is not None and workers * threads > cpus():
            allowed = f"1 to {cpus() // threads} on this machine, with {threads} of {cpus()} CPUs each"
            raise TelosError("--workers", workers, allowed)
        try:
            # "local": without it, Ray would join any other cluster that runs on this machine.
            ray.init("local", num_cpus=cpus(), include_dashboard=False, _temp_dir=str(folder), **quiet)
        except Exception as error:  # Ray raises many types of its own
            raise _broken(error) from None
        return ray
    _insist_on_listener(address)
    # Workers run the driver's own code, even if their machine has another version installed.
    code = {"py_modules": [str(provenance.ROOT / name) for name in provenance.PACKAGES], "excludes": ["__pycache__"]}
    try:
        ray.init(address=address, runtime_env=code, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        given = f"{address!r} ({str(error).strip().splitlines()[0]})"
        raise TelosError("--ray", given, "the address of a Ray cluster that runs, HOST:PORT or auto") from None
    return ray


def _doors(ray: Any) -> dict[str, tuple[str, int]]:
    """The addresses of Ray's own processes by name: the cluster's head process, and this machine's node process."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    doors = {"head process (GCS)": (host, int(port))}
    for node in ray.nodes():
        if node["NodeID"] == context.get_node_id():
            doors["node process (raylet)"] = (node["NodeManagerAddress"], node["NodeManagerPort"])
    return doors


def _insist_on_listener(address: str) -> None:
    """Raise TelosError if no process listens at the address, because Ray itself would end this process."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return  # auto, ray://…: left to Ray
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        given = f"{address!r} ({error.strerror or error})"
        raise TelosError("--ray", given, "the address of a Ray cluster that runs, HOST:PORT or auto") from None


def _broken(error: Exception) -> TelosError:
    """The error for a failure of Ray itself, not of an episode or a worker."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return TelosError("Ray", f"a failure ({line})", "a cluster that runs; `telos resume DIR` finishes a run")


def _cause(error: Any) -> BaseException:
    """The error as the episode raised it in the worker, if it is of an expected type; otherwise Ray's own error."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, TelosError | MemoryError | OSError) else error


def _reason(error: Exception) -> str:
    """Why a worker died, in a few words."""
    kind, text = type(error).__name__, str(error).lower()
    if "OutOfMemory" in kind or "memory pressure" in text:
        return "was stopped, as its machine ran out of memory"
    if "Node" in kind or "node died" in text:
        return "is gone with its node"
    return f"died ({kind})"
