"""Collects experience into a store; a collection that was interrupted goes on when it is called again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console
from rich.progress import Progress

from agent.config.config import Closed, Config
from agent.learning.collect import collected
from agent.learning.collectors import CollectConfig, RandomConfig, collector
from agent.learning.train import world_of
from agent.memory.card import card_of
from agent.memory.store import Store
from agent.rollouts.interrupts import interrupts
from envs import registry, yaml_file
from envs.errors import TelosError
from envs.files import contents, locked, write
from envs.numbers import Whole
from envs.validation import validated

SAID = "collection.yaml"


class Collection(Closed):
    """What a store was collected by."""

    frames: Whole = Field(ge=1)
    steps: Whole | None = Field(default=None, ge=1)
    by: CollectConfig = RandomConfig()
    config: Config


def collect(config: Config, by: Any, frames: int, steps: int | None, out: Path, console: Console) -> Store:
    """Collect whole episodes until the store holds at least `frames` control steps.

    Args:
        by: the collector, as YAML gives it: a kind, or a mapping with a kind.
        steps: at most so many control steps per episode; the task's limit where None.
        out: a new or empty directory, or that of an equal collection, which then goes on.

    Raises:
        TelosError: something does not fit the task, or `out` holds anything else.
    """
    given = {"kind": by} if isinstance(by, str) else by
    said = validated(Collection, {"frames": frames, "steps": steps, "by": given, "config": config}, "collect")
    text = yaml_file.dump(said.model_dump(mode="json"))
    world, about = world_of(config)
    with closing(world.env):
        actor = collector(said.by, config, world)
        limit = min(said.steps or world.env.interface.frame_limit, world.env.interface.frame_limit)
        if not (out / SAID).is_file():
            Store.create(out, about)
            write(out / SAID, text.encode())
        elif contents(out / SAID).decode(errors="replace") != text:
            raise TelosError(f"--out {out}", "another collection", "a new directory, or the same collection again")
        with locked(out, "a collection that is still going"), interrupts() as stop, Progress(console=console) as bar:
            store = Store.open(out)
            store.swept()
            task = bar.add_task("collecting", total=frames, completed=store.frames, visible=console.is_terminal)
            while store.frames < frames:
                if stop():
                    raise KeyboardInterrupt(f"interrupted after {store.frames:,} frames; the same command goes on")
                store.append([collected(world, actor, config.seed, len(store), limit)])
                bar.update(task, completed=store.frames)
            write(out / "card.md", card_of(store).text().encode())
    return store


def default_out(config: Config, by: Any) -> Path:
    """stores/TASK-KIND-seedN."""
    kind = by if isinstance(by, str) else by.get("kind", "random") if isinstance(by, dict) else "random"
    task = Path(config.task).stem if registry.is_file(config.task) else config.task
    return Path("stores") / f"{task.removeprefix('dm_control/').removesuffix('-v0')}-{kind}-seed{config.seed}"
