"""The `telos` command. Heavy modules are imported only when they are used, so that `telos --help` is quick.

An error that the user can fix gives one line on stderr and exit status 2. Ctrl-C gives exit status 130.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import tyro

from agent.command.arguments import Misuse, parse, split
from envs.errors import TelosError
from envs.render import quiet_gl

if TYPE_CHECKING:
    from rich.console import Console

Status = int
FAILED, INTERRUPTED = 2, 130
MAX_MESSAGE = 1_500  # maximum characters of an error message

Arg = tyro.conf.arg
Positional = tyro.conf.Positional


@dataclass(frozen=True)
class Run:
    """Run episodes of a configuration into a run directory.

    Any field of the configuration can be given as --FIELD.FIELD VALUE (the value is YAML), over preset and
    file: --planner.horizon 60, --planner.budget.evaluations 256, --cost.effort 0.1, --variant.mass 1.2,
    --video false (or all), --camera NAME, --trace true (the imagined path in every frame). Guardrails can be
    added or tightened this way, never relaxed. `telos list presets` shows where to begin; DIR/config.yaml of any
    run shows every field.
    """

    preset: Annotated[Positional[str | None], Arg(metavar="[PRESET|FILE]", help_behavior_hint="")] = None
    """A preset's name, or a YAML file; the task's default preset where not given."""
    task: Annotated[str | None, Arg(metavar="ID", help_behavior_hint="")] = None
    """Task id (see `telos list tasks`), or a YAML file with a model of your own."""
    planner: Annotated[str | None, Arg(metavar="NAME", help_behavior_hint="")] = None
    """Planner (see `telos list planners`); short for --planner.kind."""
    model: Annotated[Path | None, Arg(metavar="DIR", help_behavior_hint="")] = None
    """Plan with the model that `telos train` wrote there, as its recipe does where no preset is given."""
    seed: Annotated[int | None, Arg(metavar="N", help_behavior_hint="")] = None
    """All randomness derives from it."""
    seeds: Annotated[str | None, Arg(metavar="N..M|N,M", help_behavior_hint="")] = None
    """Several seeds in place of one; the table at the end has a line for each."""
    episodes: Annotated[int | None, Arg(metavar="N", help_behavior_hint="")] = None
    """How many, of each seed."""
    out: Annotated[Path | None, Arg(metavar="DIR", help_behavior_hint="")] = None
    """A new or empty run directory; runs/TASK-PLANNER-seedN where not given."""
    workers: Annotated[int | None, Arg(metavar="N", help_behavior_hint="")] = None
    """Run episodes in N processes (Ray); in this one where not given. The rows are the same."""
    ray: Annotated[str | None, Arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """Run them on a Ray cluster that runs: HOST:PORT, or auto."""
    logger: Annotated[str | None, Arg(metavar="jsonl|tensorboard", help_behavior_hint="")] = None
    """Log the numbers of episodes and steps too: DIR/log.jsonl, or DIR/tensorboard. The rows are the same."""

    def execute(self, overrides: dict[str, Any]) -> Status:
        quiet_gl(video=overrides.get("video.which") not in (False, "none"))
        from agent.command import run
        from agent.config.load import load
        from agent.rollouts.rollouts import rollouts_for
        from agent.runs import logs

        notices: list[str] = []
        logs.wanted(self.logger)  # refused before Ray is started
        preset, task = self.preset, self.task
        if self.model is not None:
            from agent.command.trained import with_model

            preset, task, overrides = with_model(self.model, preset, task, overrides)
        config = load(preset, task, overrides, notices.append)
        with rollouts_for(self.workers, self.ray, config.threads) as rollouts:
            return _told(run.run(config, self.out, _console(), rollouts, notices, self.logger).path)


@dataclass(frozen=True)
class Train:
    """Train a world model from the agent's own experience, and test the agent that plans with it.

    Any field of the recipe can be given as --FIELD.FIELD VALUE (the value is YAML): --frames 20000,
    --learn.rate 3e-4, --losses.variance 0, --model.members 5; --replay "[STORE, …]" learns from what was
    collected before, --from CHECKPOINT goes on from another training's weights. DIR/recipe.yaml of any
    training shows every field. A training that was interrupted or killed goes on with `telos resume DIR`,
    and ends with the same weights.
    """

    recipe: Annotated[Positional[str], Arg(metavar="RECIPE|FILE")]
    """A recipe's name (see `telos list recipes`), or a YAML file."""
    out: Annotated[Path | None, Arg(metavar="DIR", help_behavior_hint="")] = None
    """A new or empty directory; runs/train-TASK-seedN where not given."""

    def execute(self, overrides: dict[str, Any]) -> Status:
        quiet_gl(video=True)
        from agent.command import train
        from agent.learning.recipe import load

        return _told(train.train(load(self.recipe, overrides), self.out, _console()).path)


@dataclass(frozen=True)
class Collect:
    """Collect experience into a store: episodes as files, with a card that says what they cover.

    The world is guarded, whoever acts. Any field of the configuration can be given as for `telos run`;
    --frames is the length of an episode.
    The same command goes on with a collection that was interrupted.
    """

    preset: Annotated[Positional[str | None], Arg(metavar="[PRESET|FILE]", help_behavior_hint="")] = None
    """A preset's name, or a YAML file; the task's default preset where not given."""
    task: Annotated[str | None, Arg(metavar="ID", help_behavior_hint="")] = None
    """Task id (see `telos list tasks`), or a YAML file with a model of your own."""
    by: Annotated[str, Arg(metavar="KIND|YAML", help_behavior_hint="")] = "random"
    """Who acts: random, planner, curiosity, or a mapping such as '{kind: mixture, parts: [...]}'."""
    steps: Annotated[int, Arg(metavar="N", help_behavior_hint="")] = 10_000
    """Control steps to collect; the last episode is finished."""
    out: Annotated[Path | None, Arg(metavar="DIR", help_behavior_hint="")] = None
    """The store; stores/TASK-KIND-seedN where not given."""

    def execute(self, overrides: dict[str, Any]) -> Status:
        quiet_gl(video=False)
        from agent.command import collect
        from agent.config.load import load
        from envs import yaml_file

        notices: list[str] = []
        config = load(self.preset, self.task, {**overrides, "video": False}, notices.append)
        by = yaml_file.content(self.by, "collect --by", "a kind, or a YAML mapping with one")
        out = self.out or collect.default_out(config, by)
        print(collect.collect(config, by, self.steps, out, _console()).path)
        return 0


@dataclass(frozen=True)
class Data:
    """Stores of experience as Minari data sets, and back; or the card of a store.

    telos data card STORE; telos data export STORE --to DIR; telos data import DIR --task ID --to STORE.
    """

    verb: Positional[Literal["card", "export", "import"]]
    """What to do."""
    source: Annotated[Positional[Path], Arg(metavar="DIR")]
    """A store, or the Minari data set to import."""
    to: Annotated[Path | None, Arg(metavar="DIR", help_behavior_hint="")] = None
    """The data set, or the store, to make: a new or empty directory."""
    task: Annotated[str | None, Arg(metavar="ID", help_behavior_hint="")] = None
    """The task that imported episodes were collected on."""
    name: Annotated[str | None, Arg(metavar="ID", help_behavior_hint="")] = None
    """The exported data set's id, telos/NAME-v0 where not given."""

    def execute(self, overrides: dict[str, Any]) -> Status:
        quiet_gl(video=False)
        from agent.command import data

        print(data.run(self.verb, self.source, self.to, self.task, self.name), end="")
        return 0


@dataclass(frozen=True)
class Resume:
    """Finish an interrupted run or training; nothing that was finished is lost or repeated."""

    dir: Annotated[Positional[Path], Arg(metavar="DIR")]
    """The directory of a run, or of a training."""
    workers: Annotated[int | None, Arg(metavar="N", help_behavior_hint="")] = None
    """As for `telos run`."""
    ray: Annotated[str | None, Arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """As for `telos run`."""
    logger: Annotated[str | None, Arg(metavar="jsonl|tensorboard", help_behavior_hint="")] = None
    """Another log, made from all episodes of the run; those that are there go on anyway."""

    def execute(self, overrides: dict[str, Any]) -> Status:
        quiet_gl(video=True)
        from agent.command import run, train
        from agent.learning.traindir import is_training
        from agent.rollouts.rollouts import rollouts_for
        from agent.runs import logs
        from agent.runs.rundir import RunDir

        if is_training(self.dir):
            given = next((name for name in ("workers", "ray", "logger") if getattr(self, name) is not None), None)
            if given is not None:
                raise TelosError(f"resume --{given}", "with a training", "a run; a training goes on as it began")
            return _told(train.resume(self.dir, _console()).path)
        threads = RunDir.open(self.dir).config.threads
        logs.wanted(self.logger, self.dir)  # refused before Ray is started
        with rollouts_for(self.workers, self.ray, threads) as rollouts:
            return _told(run.resume(self.dir, _console(), rollouts, self.logger).path)


@dataclass(frozen=True)
class Report:
    """Write report.html again from what the run directory holds, and print its path."""

    dir: Annotated[Positional[Path], Arg(metavar="DIR")]
    """A run directory."""

    def execute(self, overrides: dict[str, Any]) -> Status:
        quiet_gl(video=False)
        from agent.learning.traindir import TrainDir, is_training
        from agent.reports import report, training
        from agent.runs.rundir import RunDir

        if is_training(self.dir):
            print(training.write_report(TrainDir.open(self.dir)))
            return 0
        rundir = RunDir.open(self.dir)
        print(report.write_report(rundir))
        if rundir.torn:
            text = f"without a torn last line ({rundir.torn} bytes) of episodes.jsonl; telos resume {self.dir} mends it"
            print(text, file=sys.stderr)
        return 0


@dataclass(frozen=True)
class Compare:
    """Compare two runs of one task: B minus A, paired by seed and episode, with 95 % intervals."""

    a: Annotated[Positional[Path], Arg(metavar="A")]
    """A run directory."""
    b: Annotated[Positional[Path], Arg(metavar="B")]
    """Another one."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print it as JSON: means, differences with their intervals, what the runs differ in, warnings."""

    def execute(self, overrides: dict[str, Any]) -> Status:
        quiet_gl(video=False)
        from agent.reports import compare
        from agent.runs.rundir import RunDir

        found = compare.compare(RunDir.open(self.a), RunDir.open(self.b))
        if self.json:
            print(found.json())
        else:
            compare.show(found, _console(stderr=False))
        return 0


@dataclass(frozen=True)
class Explain:
    """Show the candidates, costs and margins behind one decision, as text and as a picture.

    The episode is run again up to that step, and its actions are compared with the recorded ones.
    """

    dir: Annotated[Positional[Path], Arg(metavar="DIR")]
    """A run directory."""
    episode: int = 0
    """Which episode, from 0."""
    step: int = 0
    """Which decision of it, from 0."""

    def execute(self, overrides: dict[str, Any]) -> Status:
        quiet_gl(video=False)
        from agent.reports import explain
        from agent.runs.rundir import RunDir

        return explain.show(RunDir.open(self.dir), self.episode, self.step, _console(stderr=False))


@dataclass(frozen=True)
class List:
    """List what there is to choose from, or the parameters of one planner or guardrail."""

    what: Positional[Literal["tasks", "planners", "models", "costs", "guardrails", "presets", "recipes", "signals"]]
    """Which table."""
    name: Annotated[Positional[str | None], Arg(metavar="[NAME]", help_behavior_hint="")] = None
    """A planner or guardrail, whose parameters are shown with their defaults and meaning."""
    task: str | None = None
    """The task whose signals are listed."""

    def execute(self, overrides: dict[str, Any]) -> Status:
        quiet_gl(video=False)
        from agent.command import listing

        listing.show(self.what, self.name, self.task, _console(stderr=False))
        return 0


@dataclass(frozen=True)
class Doctor:
    """Check versions, packages, CPUs, and whether videos can be made here."""

    def execute(self, overrides: dict[str, Any]) -> Status:
        from agent.command import doctor

        return doctor.show(doctor.examine(), _console(stderr=False))


@dataclass(frozen=True)
class Bench:
    """Measure on this machine what docs/measured/ shows of another.

    Rows go to runs/bench/NAME.jsonl. A benchmark of episodes that is called again goes on where it stopped. What
    else one takes is told by `telos bench NAME --help`.
    """

    name: Positional[
        Literal[
            "returns",
            "quickstart_twins",
            "planners",
            "sac",
            "ablations",
            "hopeless",
            "robust",
            "throughput",
            "peers",
            "parallel",
            "faults",
            "scaling",
            "tampering",
            "worldmodels",
        ]
    ]
    """Which one."""
    arguments: Annotated[Positional[tuple[str, ...]], Arg(metavar="…", help_behavior_hint="")] = ()
    """Its own arguments."""

    def execute(self, overrides: dict[str, Any]) -> Status:
        quiet_gl(video=False)
        from importlib import import_module  # by name, because agent/ must not depend on benchmarks/

        return import_module("benchmarks.harness.registry").load(self.name)(self.arguments)


COMMANDS: dict[str, type[Any]] = {
    "run": Run,
    "train": Train,
    "collect": Collect,
    "data": Data,
    "resume": Resume,
    "report": Report,
    "compare": Compare,
    "explain": Explain,
    "list": List,
    "bench": Bench,
    "doctor": Doctor,
}


def main(argv: Sequence[str] | None = None) -> Status:
    """Run one command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        from agent.provenance import telos_version

        print(f"telos {telos_version()}")
        return 0
    try:
        with _terminable():
            arguments, overrides = split(arguments)
            command = parse(arguments, COMMANDS)
            if arguments[0] != "doctor":
                from agent.provenance import check_packages

                check_packages()
            return command.execute(overrides)
    except (Misuse, TelosError) as error:
        return _fail(str(error))
    except KeyboardInterrupt as stop:
        with _undisturbed():
            print(f"telos: {_words(stop)}", file=sys.stderr, flush=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Without this, flushing stdout at exit would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError as error:
        return _fail(f"memory: {str(error) or 'given more than there is'}; allowed: a smaller horizon or budget")
    except OSError as error:
        return _fail(f"{error.filename or 'system'}: given {(error.strerror or str(error)).lower()}")


def _words(stop: BaseException | None) -> str:
    """The message of an interrupt. A second one, raised during clean-up, has none; use the first one's."""
    while stop is not None:
        if isinstance(stop, KeyboardInterrupt) and stop.args:
            return str(stop)
        stop = stop.__context__
    return "interrupted"


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Within this context, another Ctrl-C is delayed until the end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextlib.contextmanager
def _terminable() -> Any:
    """Within this context, SIGTERM raises KeyboardInterrupt, as Ctrl-C does."""

    def stop(number: int, frame: Any) -> NoReturn:
        raise KeyboardInterrupt

    before: Callable[..., Any] | int | None = None
    with contextlib.suppress(ValueError):  # not in the main thread
        before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _console(stderr: bool = True) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 200)  # a file has no width of its own


def _told(path: Path) -> Status:
    """Print the path of the report on stdout."""
    print(path / "report.html")
    return 0


def _fail(message: str) -> Status:
    line = " ".join(message.split())
    if len(line) > MAX_MESSAGE:
        line = line[:MAX_MESSAGE] + " …"
    print(f"telos: {line}", file=sys.stderr)
    return FAILED


def entry() -> NoReturn:
    """Run the command as a process, with a supervisor if it may drive Ray, as any benchmark may."""
    words = [word.partition("=")[0] for word in sys.argv[1:]]
    if words[:1] == ["bench"] or "--workers" in words or "--ray" in words:
        from agent.rollouts.supervisor import supervised

        supervised(_work, frozenset({0, FAILED, INTERRUPTED}), FAILED)
    _work()


def _work() -> NoReturn:
    """Run the command and end the process with `os._exit`, so that nothing is printed after the command's last line.

    A late Ctrl-C prints no traceback, and exit handlers of libraries do not run. Ray's exit handler would wait for a
    cluster that has died, and then crash.
    """
    status = INTERRUPTED
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the calling process closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")  # escape characters that the encoding lacks
    with contextlib.suppress(KeyboardInterrupt):
        try:
            status = main()
        except SystemExit as stop:  # raised by --help
            status = stop.code if isinstance(stop.code, int) else 0
        except Exception:  # a bug in telos
            traceback.print_exc()
            status = FAILED
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            pass
        except (OSError, ValueError) as error:
            os.write(2, f"telos: output: given {error}\n".encode())
            status = status or FAILED
    os._exit(status)


if __name__ == "__main__":
    entry()
