"""The public door of telos: load a configuration, make its environment and agent, run it, read a run.

    import telos

    config = telos.load("quickstart", frames=50)
    env = telos.environment(config)
    agent, world = telos.agent(config, env), telos.world(config, env)

The import also registers every task with Gymnasium, for agents of other libraries (`envs.gym`):

    env = gymnasium.make("telos/Hopper-v5", guardrails=[...])

The packages behind it (`agent`, `envs`, `planners`, …) have generic names. Where a file or folder of the same name
comes first on the search path, it would run in place of ours: then `import telos` fails, and names it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.agent import Agent
    from agent.config.config import Config
    from agent.runs.rundir import RunDir
    from envs.environment import Environment
    from envs.guard.world import GuardedWorld

__all__ = ["agent", "environment", "load", "open_run", "run", "world"]
PACKAGES = ("agent", "benchmarks", "configs", "envs", "planners", "worldmodels")


def _insist_on_ours() -> None:
    """Raises ImportError where another file or folder would be imported in place of one of our packages."""
    here = Path(__file__).resolve().parent
    for name in PACKAGES:  # not `agent.provenance.PACKAGES`, which may be a stranger's
        spec = find_spec(name)
        places = [] if spec is None else [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        found = Path(places[0]).resolve() if places and places[0] is not None else None
        wanted = here / name / "__init__.py"
        if found != wanted:
            raise ImportError(
                f"telos needs its own package {name!r} at {wanted}, but {found or 'nothing'} is found first"
            )


_insist_on_ours()

from envs.gym.registration import register  # noqa: E402  the packages are ours only after the check

register()


def load(preset: str | None = None, task: str | None = None, **overrides: Any) -> Config:
    """A checked configuration.

    Args:
        preset: a preset's name or a YAML file; the task's default preset where None.
        task: a task's id, or a YAML file with a model of your own.
        overrides: fields of the configuration; "__" stands for the dot, as in `planner__horizon=60`.

    Raises:
        TelosError: an unknown name, or a value that is not allowed.
    """
    from agent.config.load import load as loaded

    return loaded(preset, task=task, overrides={name.replace("__", "."): value for name, value in overrides.items()})


def environment(config: Config) -> Environment:
    """The environment of a configuration, a Gymnasium environment. Raises TelosError for what does not fit."""
    from agent import build

    return build.environment(config)


def agent(config: Config, env: Environment, **parts: Any) -> Agent:
    """The agent of a configuration for its environment. Raises TelosError for what does not fit.

    Args:
        parts: `model`, `costs`, `judge`, `risk`, `critic` and `policy` of your own; see `agent.build.agent`.
    """
    from agent import build

    return build.agent(config, env.task, env.interface, **parts)


def world(config: Config, env: Environment) -> GuardedWorld:
    """The environment behind gate and monitor, which an agent acts in. Raises TelosError for what does not fit."""
    from agent import build

    return build.world(config, env)


def run(config: Config, out: str | Path) -> RunDir:
    """Run the episodes of a configuration into a directory, with a report; a run that is there is resumed.

    Raises:
        TelosError: the configuration does not fit, or the directory holds another run or other files.
    """
    from agent.command import run as command

    return command.run(config, Path(out))


def open_run(path: str | Path) -> RunDir:
    """A run directory, to be read. Raises TelosError where there is none."""
    from agent.runs.rundir import RunDir

    return RunDir.open(Path(path))
