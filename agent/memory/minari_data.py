"""Stores as Minari data sets, and back. Minari itself writes and reads them; it is an extra (`telos[data]`).

An exported observation is the vector (F,) that telos keeps, in the order of `About.entries`, and actions are in [-1,1].
Raw states and margins are infos. A data set is data: its files are checked before Minari opens them, and the
environment that it may name is never made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from gymnasium import spaces

from agent.memory import hdf5, shard
from agent.memory.about import About
from agent.memory.episode import Episode
from agent.memory.store import Store
from envs.errors import TelosError
from envs.files import contents, writing
from envs.percept import flatten
from envs.task import Interface

MAIN, METADATA = "main_data.hdf5", "metadata.json"
PARAMS = "telos"  # among an episode's options: what the reset chose
DATA = "a Minari data set: a folder with data/metadata.json and data/main_data.hdf5"


def export(store: Store, out: Path, name: str) -> None:
    """Write a store as the data set `out`, which `minari.MinariDataset(out / "data")` loads.

    Args:
        name: the data set's id, such as telos/reacher-random-v0.

    Raises:
        TelosError: `out` is taken, the store is empty, or Minari is not installed.
    """
    buffer, storage = _minari()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TelosError(f"--to {out}", "a path that is taken", "a new or an empty directory")
    if not len(store):
        raise TelosError(str(store.path), "a store without episodes", "one episode at least")
    about = store.about
    observed = spaces.Box(-np.inf, np.inf, about.features, np.float64)
    if len(about.features) == 3:
        observed = spaces.Box(0, 255, about.features, np.uint8)
    acted = spaces.Box(-1.0, 1.0, (about.action_size,), np.float64)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        made = storage.new(out / "data", observed, acted, jpeg_encoding=False)
        for index, episode in enumerate(store.episodes()):
            made.update_episodes([_buffered(buffer, index, episode)])
        made.update_metadata(
            {
                "dataset_id": name,
                "algorithm_name": ", ".join(sorted({episode.actor for episode in store.episodes()})),
                "description": f"{about.task}, collected by telos; store SHA-256 {store.sha256}",
                "minari_version": _version(),
                "telos": json.dumps(about.model_dump()),
            }
        )


def imported(source: Path, out: Path, task: str, interface: Interface, features: int) -> Store:
    """Make the store `out` of a data set's episodes.

    Args:
        source: the data set's folder, or its `data` folder.
        task: the id of the task that it was collected on.
        features: numbers of one of its observations.

    Raises:
        TelosError: no data set, files that are not plain data, or episodes that do not fit the task.
    """
    _, storage = _minari()
    folder = source / "data" if (source / "data").is_dir() else source
    said = _checked(folder)
    size, period = interface.action_size, interface.control_period
    about = About(task=task, features=(features,), action_size=size, control_period=period, **_rules(said, task))
    number, actor = range(said["total_episodes"]), str(said.get("algorithm_name", "")) or "minari"
    try:
        read, made = storage.read(folder), []
        for found, more in zip(read.get_episodes(number), read.get_episode_metadata(number), strict=True):
            seed = more.get("seed")
            one = _episode(found, read.action_space, interface)
            params = flattened(more.get("options", {}).get(PARAMS, {}))
            made.append(replace(one, actor=actor, seed=-1 if seed is None else int(seed), params=params))
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, AssertionError) as error:
        raise TelosError(str(folder), f"episodes that cannot be read ({_line(error)})", DATA) from None
    for one in made:
        shard.insist_fits(one, about, str(folder))
    store = Store.create(out, about)
    for one in made:
        store.append([one])
    return store


def _rules(said: dict[str, Any], task: str) -> dict[str, Any]:
    """The guardrails that the margins are of, where telos exported the data set from a store of this task."""
    try:
        about = About.model_validate_json(said.get("telos", ""))
    except ValueError:
        return {}
    if about.task != task:
        return {}
    return {"guardrails": about.guardrails, "guardrails_sha256": about.guardrails_sha256, "entries": about.entries}


def flattened(nested: Any, above: str = "") -> dict[str, np.ndarray]:
    """Nested groups of arrays as arrays by path, as `Episode.params` has them."""
    found: dict[str, np.ndarray] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            found |= flattened(value, f"{above}{name}/")
        else:
            found[f"{above}{name}"] = np.asarray(value)
    return found


def _buffered(buffer: Any, index: int, episode: Episode) -> Any:
    steps = len(episode)
    ends = np.zeros((2, steps), bool)
    ends[:, -1] = episode.terminated, episode.truncated
    blank = np.full((1, episode.margins.shape[1]), np.nan)
    infos: dict[str, Any] = {"margins": np.concatenate([blank, episode.margins])}
    if len(episode.states):
        infos["states"] = episode.states
    return buffer(
        id=index,
        seed=None if episode.seed < 0 else episode.seed,
        options={PARAMS: dict(episode.params)} if episode.params else None,
        observations=episode.observations,
        actions=episode.actions,
        rewards=list(episode.rewards),
        terminations=list(ends[0]),
        truncations=list(ends[1]),
        infos=infos,
    )


def _episode(found: dict[str, Any], acted: spaces.Space[Any], interface: Interface) -> Episode:
    actions = np.asarray(found["actions"], np.float64)
    if isinstance(acted, spaces.Box) and not (np.all(acted.low == -1) and np.all(acted.high == 1)):
        actions = np.stack([interface.normalised(action) for action in actions])
    infos = found.get("infos") or {}
    seen = found["observations"]
    margins = np.asarray(infos.get("margins", np.zeros((len(actions) + 1, 0))), np.float64)[1:]
    return Episode(
        observations=np.stack(list(_rows(seen, len(actions) + 1))),
        actions=actions,
        rewards=np.asarray(found["rewards"], np.float64),
        margins=margins,
        states=np.asarray(infos["states"], np.float64) if "states" in infos else np.zeros((0, 0)),
        terminated=bool(np.any(found["terminations"])),
        truncated=not bool(np.any(found["terminations"])),
    )


def _rows(seen: Any, number: int) -> Iterator[np.ndarray]:
    """The observations one by one, dict entries in key order, as telos flattens them."""
    for index in range(number):
        yield flatten({key: value[index] for key, value in seen.items()} if isinstance(seen, dict) else seen[index])


def _checked(folder: Path) -> dict[str, Any]:
    """The metadata of a data set whose files are plain data."""
    file, metadata = folder / MAIN, folder / METADATA
    if not file.is_file() or not metadata.is_file():
        raise TelosError(str(folder), "no data set there", DATA)
    try:
        said = json.loads(contents(metadata))
        if said["data_format"] != "hdf5" or not isinstance(said["total_episodes"], int):
            raise ValueError("another format than hdf5")
        for name in ("observation_space", "action_space"):
            if not isinstance(said.get(name), str):  # Minari would make the environment that the data set names
                raise ValueError(f"no {name}")
        with h5py.File(file, "r") as opened:
            hdf5.insist_plain_file(opened, file.stat().st_size, "fuibS")
            if said["total_episodes"] > len(opened) or said["total_episodes"] < 1:
                raise ValueError(f"{said['total_episodes']} episodes said, {len(opened)} there")
    except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise TelosError(str(folder), f"no plain data set ({_line(error)})", DATA) from None
    return said


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def _minari() -> tuple[Any, Any]:
    try:
        from minari.data_collector.episode_buffer import EpisodeBuffer
        from minari.dataset.minari_storage import MinariStorage
    except ImportError:
        raise TelosError("minari", "not installed", "pip install 'telos[data]'") from None
    return EpisodeBuffer, MinariStorage


def _version() -> str:
    import minari

    return minari.__version__
