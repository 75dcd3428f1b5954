"""Episodes on disk: shards that are written aside and renamed, with an index that can be rebuilt from them.

    store.json          what all episodes have in common, see `About`
    shards/NAME.h5      one or more episodes; see `agent.memory.shard`
    index.json          shard -> its digest and the lengths of its episodes

One process writes at a time; any number may read meanwhile. A killed writer loses the shard that it was writing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.memory import shard
from agent.memory.about import SCHEMA, About
from agent.memory.episode import Episode
from envs.errors import TelosError
from envs.files import contents, write, writing
from envs.validation import validated

STORE = "a store of episodes, as `telos collect` writes it"


@dataclass(frozen=True)
class Shard:
    """One file of the store."""

    name: str
    sha256: str
    lengths: tuple[int, ...]  # control steps of each episode


class Store:
    """One store. Make a new one with `create`, open an existing one with `open`."""

    def __init__(self, path: Path, about: About, shards: Sequence[Shard]) -> None:
        self.path, self.about, self.shards = path, about, list(shards)

    @classmethod
    def create(cls, path: Path, about: About) -> Store:
        """Make an empty store. Raises TelosError where the path is taken, or cannot be written."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise TelosError(str(path), "a path that is taken", "a new or an empty directory")
        with writing(path):
            (path / "shards").mkdir(parents=True, exist_ok=True)
        write(path / "store.json", (about.model_dump_json(indent=2) + "\n").encode())
        made = cls(path, about, [])
        made._index()
        return made

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a store; an index that is missing, damaged or behind is rebuilt from the shards.

        Raises:
            TelosError: no store, or a shard that cannot be read.
        """
        if not (path / "store.json").is_file():
            raise TelosError(str(path), "no store.json" if path.is_dir() else "no such directory", STORE)
        where = str(path / "store.json")
        try:
            said = json.loads(contents(path / "store.json"))
        except (ValueError, RecursionError):
            raise TelosError(where, "not JSON", STORE) from None
        if not isinstance(said, dict) or said.get("version") != SCHEMA:
            given = repr(said.get("version")) if isinstance(said, dict) else "not an object"
            raise TelosError(f"{where}: version", given, f"{SCHEMA}, which this telos reads")
        about = validated(About, said, where)
        known = {one.name: one for one in _indexed(path / "index.json")}
        names = [file.name for file in (path / "shards").glob("*.h5") if file.stem.isdecimal()]
        found = sorted(names, key=lambda name: int(name.removesuffix(".h5")))
        return cls(path, about, [known.get(name) or _scanned(path / "shards" / name, about) for name in found])

    @property
    def frames(self) -> int:
        """Control steps of all episodes."""
        return sum(sum(one.lengths) for one in self.shards)

    def __len__(self) -> int:
        """Episodes."""
        return sum(len(one.lengths) for one in self.shards)

    @property
    def sha256(self) -> str:
        """Digest of all episodes and of what they have in common."""
        parts = [self.about.model_dump_json(), *(f"{one.name} {one.sha256}" for one in self.shards)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def episodes(self, first: int = 0) -> Iterator[Episode]:
        """The episodes in order, from the one with this index on.

        Raises:
            TelosError: a shard is missing, has changed, or is damaged.
        """
        begin = 0
        for one in self.shards:
            if begin + len(one.lengths) > first:
                data = contents(self.path / "shards" / one.name)
                if hashlib.sha256(data).hexdigest() != one.sha256:
                    raise TelosError(str(self.path / "shards" / one.name), "a changed file", "the shard as written")
                found = shard.read(data, str(self.path / "shards" / one.name), self.about)
                if tuple(map(len, found)) != one.lengths:
                    raise TelosError(
                        str(self.path / "index.json"), "other lengths than the shards have", "no index.json"
                    )
                yield from found[max(first - begin, 0) :]
            begin += len(one.lengths)

    def append(self, episodes: Sequence[Episode]) -> None:
        """Write one shard with these episodes.

        Raises:
            TelosError: an episode does not fit the store, or the disk refuses.
        """
        data = shard.written(episodes, self.about)
        last = max((int(one.name.partition(".")[0]) for one in self.shards), default=-1)
        name = f"{last + 1:06d}.h5"
        write(self.path / "shards" / name, data)
        lengths = tuple(len(episode) for episode in episodes)
        self.shards.append(Shard(name, hashlib.sha256(data).hexdigest(), lengths))
        self._index()

    def cut(self, episodes: int) -> None:
        """Remove all shards after the first `episodes` episodes, as before a resume.

        Raises:
            TelosError: fewer episodes are there, or a shard holds episodes on both sides.
        """
        kept, count = 0, 0
        while kept < len(self.shards) and count < episodes:
            count += len(self.shards[kept].lengths)
            kept += 1
        if count != episodes:
            allowed = f"{episodes}, as the checkpoint says"
            raise TelosError(str(self.path), f"{len(self)} episodes, in shards that do not end there", allowed)
        gone, self.shards = self.shards[kept:], self.shards[:kept]
        if gone:
            self._index()
        for one in gone:
            (self.path / "shards" / one.name).unlink(missing_ok=True)

    def swept(self) -> None:
        """Remove the unfinished files that a killed writer left; only under the lock."""
        for file in (*self.path.glob(".*.part"), *self.path.glob("shards/.*.part")):
            file.unlink(missing_ok=True)

    def _index(self) -> None:
        values = {one.name: {"sha256": one.sha256, "lengths": one.lengths} for one in self.shards}
        write(self.path / "index.json", (json.dumps(values, indent=1) + "\n").encode())


def _indexed(file: Path) -> list[Shard]:
    """What the index says; nothing where it is missing or damaged, because it can be rebuilt."""
    try:
        said = json.loads(contents(file))
        return [Shard(name, str(one["sha256"]), tuple(map(int, one["lengths"]))) for name, one in said.items()]
    except (TelosError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _scanned(file: Path, about: About) -> Shard:
    data = contents(file)
    lengths = tuple(len(episode) for episode in shard.read(data, str(file), about))
    return Shard(file.name, hashlib.sha256(data).hexdigest(), lengths)
