"""`telos data`: the card of a store, and Minari data sets in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agent.memory import minari_data
from agent.memory.card import card_of
from agent.memory.store import Store
from envs import registry
from envs.errors import TelosError
from envs.percept import flatten


def run(verb: str, source: Path, to: Path | None, task: str | None, name: str | None) -> str:
    """Do one of card, export and import; return what to print. Raises TelosError where something does not fit."""
    for flag, value, verbs in (
        ("to", to, ("export", "import")),
        ("task", task, ("import",)),
        ("name", name, ("export",)),
    ):
        if value is not None and verb not in verbs:
            raise TelosError(f"data --{flag}", f"with {verb}", f"with {' or '.join(verbs)}")
    if verb == "card":
        return card_of(Store.open(source)).text()
    if to is None:
        raise TelosError(f"data {verb}", "no --to", "--to DIR, a new or an empty directory")
    if verb == "export":
        minari_data.export(Store.open(source), to, name or f"telos/{source.resolve().name}-v0")
        return f"{to}\n"
    if task is None:
        raise TelosError("data import", "no --task", "--task ID, on which the data set was collected")
    env = registry.make(task)
    try:
        observation, _ = env.reset(seed=0)
        store = minari_data.imported(source, to, task, env.interface, int(np.size(flatten(observation))))
    finally:
        env.close()
    return card_of(store).text()
