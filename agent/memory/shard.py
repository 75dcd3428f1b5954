"""One shard of a store: episodes as an HDF5 file of plain arrays.

Every array of all episodes is one dataset, one episode after the other; `lengths` says where each begins. What a
foreign file could do with links, virtual data or filters is refused, and sizes are checked before memory is taken.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np

from agent.memory import hdf5
from agent.memory.about import About
from agent.memory.episode import ARRAYS, Episode
from envs.errors import TelosError

PARAM = "param:"  # before the name of what a reset chose, whose / is written as :
PER_STATE = ("observations", "states")  # one row more than steps
SAID = {"terminated": bool, "truncated": bool, "goal": str, "actor": str, "seed": int}


def written(episodes: Sequence[Episode], about: About) -> bytes:
    """The file's content. Raises TelosError where an episode does not fit the store, or they do not fit each other."""
    if not episodes:
        raise TelosError("store", "a shard without episodes", "one episode at least")
    for episode in episodes:
        insist_fits(episode, about, "store")
    buffer = io.BytesIO()
    names = sorted(episodes[0].params)
    if any(sorted(episode.params) != names for episode in episodes):
        raise TelosError("store", "episodes whose params differ in their names", "one task's episodes")
    with h5py.File(buffer, "w", libver="latest", track_order=False) as file:
        for name in ARRAYS:
            parts = [getattr(episode, name) for episode in episodes]
            if len({(part.shape[1:], part.dtype) for part in parts}) > 1:
                raise TelosError("store", f"episodes whose {name} differ in size or type", "one task's episodes")
            _put(file, name, np.concatenate(parts))
        for name in names:
            _put(
                file,
                PARAM + name.replace("/", ":"),
                np.stack([np.asarray(episode.params[name]) for episode in episodes]),
            )
        file["lengths"] = np.array([len(episode) for episode in episodes], dtype=np.int64)
        said = [{name: kind(getattr(episode, name)) for name, kind in SAID.items()} for episode in episodes]
        file.attrs["episodes"] = json.dumps(said)
    return buffer.getvalue()


def read(data: bytes, where: str, about: About) -> list[Episode]:
    """The episodes of a file's content. Raises TelosError for anything but what `written` gave."""
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            names = hdf5.insist_plain_file(file, len(data))
            if strange := [n for n in names if not (n in ARRAYS or n == "lengths" or n.startswith(PARAM))]:
                raise ValueError(f"an array {strange[0]}")
            arrays = {name: np.asarray(file[name]) for name in names}
            said = json.loads(str(file.attrs["episodes"]))
        found = _split(arrays, said)
        for episode in found:
            insist_fits(episode, about, where)
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        given = f"an unreadable shard ({(str(error) or type(error).__name__).splitlines()[0][:120]})"
        raise TelosError(where, given, "a shard as telos wrote it") from None
    return found


def _put(file: h5py.File, name: str, array: np.ndarray) -> None:
    packed: dict[str, Any] = {}
    if array.dtype == np.uint8 and array.size:  # pixels; numbers from simulations hardly shrink
        packed = {"chunks": (min(16, len(array)), *array.shape[1:]), "compression": "gzip", "compression_opts": 1}
    file.create_dataset(name, data=array, track_times=False, **packed)


def _split(arrays: dict[str, np.ndarray], said: list[dict[str, Any]]) -> list[Episode]:
    lengths = arrays.pop("lengths")
    if lengths.ndim != 1 or len(lengths) != len(said) or (lengths < 1).any():
        raise ValueError("lengths that do not fit")
    params = {
        name.removeprefix(PARAM).replace(":", "/"): arrays.pop(name) for name in list(arrays) if name.startswith(PARAM)
    }
    if set(arrays) != set(ARRAYS):
        raise ValueError(f"the arrays {', '.join(sorted(arrays))}")
    for name, array in arrays.items():
        rows = int(lengths.sum()) + (len(lengths) if name in PER_STATE else 0)
        if array.ndim == 0 or (len(array) != rows and not (name in PER_STATE and array.size == 0)):
            raise ValueError(f"{name}: {len(array)} rows in place of {rows}")
    if any(len(values) != len(lengths) for values in params.values()):
        raise ValueError("params that do not fit the episodes")
    found, at = [], 0
    for index, (length, about) in enumerate(zip(lengths.tolist(), said, strict=True)):
        cut = {name: array[at : at + length] for name, array in arrays.items() if name not in PER_STATE}
        first = at + index
        cut |= {
            name: arrays[name][first : first + length + 1] if arrays[name].size else arrays[name] for name in PER_STATE
        }
        own = MappingProxyType({name: values[index] for name, values in params.items()})
        if not isinstance(about, dict) or {name: type(value) for name, value in about.items()} != SAID:
            raise ValueError("an episode that says something else of itself")
        found.append(Episode(**cut, **about, params=own))
        at += length
    return found


def insist_fits(episode: Episode, about: About, where: str) -> None:
    """Raises TelosError for an episode that is not whole, or of another size than the store's."""
    try:
        episode.check()
    except ValueError as error:
        raise TelosError(where, str(error), "a whole episode") from None
    shape, actions = episode.observations.shape[1:], episode.actions.shape[1]
    if (shape, actions) != (tuple(about.features), about.action_size):
        given = f"observations {shape} and actions ({actions},)"
        raise TelosError(where, given, f"{tuple(about.features)} and ({about.action_size},), as this store has them")
