"""Collects experience into a store; a collection that was interrupted goes on when it is called again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from agent.command.run import short
from agent.config.config import Closed, Config
from agent.learning.collect import collected
from agent.learning.collectors import CollectConfig, RandomConfig, collector
from agent.learning.prepare import world_of
from agent.memory.card import card_of
from agent.memory.store import Store
from agent.rollouts.interrupts import interrupts
from agent.rollouts.player import frame_limit
from agent.rollouts.progress import bar
from envs import yaml_file
from envs.errors import TelosError
from envs.files import contents, locked, write
from envs.numbers import Whole
from envs.validation import validated

SAID = "collection.yaml"


class Collection(Closed):
    """What a store was collected by."""

    steps: Whole = Field(ge=1)
    by: CollectConfig = RandomConfig()
    config: Config


def collect(config: Config, by: Any, steps: int, out: Path, console: Console) -> Store:
    """Collect whole episodes, as long as the configuration's, until the store holds at least `steps` control steps.

    Args:
        by: the collector, as YAML gives it: a kind, or a mapping with a kind.
        out: a new or empty directory, or that of an equal collection, which then goes on.

    Raises:
        TelosError: something does not fit the task, or `out` holds anything else.
    """
    given = {"kind": by} if isinstance(by, str) else by
    said = validated(Collection, {"steps": steps, "by": given, "config": config}, "collect")
    text = yaml_file.dump(said.model_dump(mode="json"))
    world, about = world_of(config)
    with closing(world.env):
        actor = collector(said.by, config, world)
        limit = frame_limit(config, world.env.interface)
        if not (out / SAID).is_file():
            Store.create(out, about)
            write(out / SAID, text.encode())
        elif contents(out / SAID).decode(errors="replace") != text:
            raise TelosError(f"--out {out}", "another collection", "a new directory, or the same collection again")
        with locked(out, "a collection that is still going"), interrupts() as stop, bar(console) as shown:
            store = Store.open(out)
            store.swept()
            task = shown.add_task("collecting", total=steps, completed=store.frames, status="")
            while store.frames < steps:
                if stop():
                    raise KeyboardInterrupt(f"interrupted after {store.frames:,} frames; the same command goes on")
                store.append([collected(world, actor, config.seed, len(store), limit)])
                shown.update(task, completed=store.frames)
            write(out / "card.md", card_of(store).text().encode())
    return store


def default_out(config: Config, by: Any) -> Path:
    """stores/TASK-KIND-seedN."""
    kind = by if isinstance(by, str) else by.get("kind", "random") if isinstance(by, dict) else "random"
    return Path("stores") / f"{short(config.task)}-{kind}-seed{config.seed}"
