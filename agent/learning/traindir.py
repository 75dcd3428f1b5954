"""The directory of a training run: which files it holds, and how a killed run continues from them.

    recipe.yaml         the resolved recipe; `telos train DIR/recipe.yaml` runs it again
    manifest.json       versions, commit, threads, digest of the recipe
    store/              the experience (agent.memory.store)
    state.safetensors   weights, optimiser and counts after the last whole cycle; the others follow it
    curve.jsonl         one line per evaluation
    log.jsonl           one line per cycle: loss terms, times
    start.safetensors   a copy of the checkpoint that training goes on from, if any
    model.safetensors   the checkpoint that `telos run --model DIR` plans with

A cycle is one episode, the updates after it, and an evaluation where one is due. `state.safetensors` is written last,
and renamed. A killed run goes back to it: what store and logs hold beyond it is cut.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from agent import provenance
from agent.config.load import read
from agent.learning.recipe import Recipe
from agent.memory.about import About
from agent.memory.store import Store
from agent.runs.manifest import digest
from envs.errors import TelosError
from envs.files import contents, write, writing
from envs.validation import validated
from worldmodels.checkpoint import metadata, packed

SCHEMA = 2
COUNTS = ("cycles", "updates", "curve", "log")
START = "start.safetensors"  # a copy of the checkpoint that training goes on from
TRAINED = "a directory of `telos train`"


class TrainDir:
    """One training run on disk. Make a new one with `create`, open an existing one with `open`."""

    def __init__(self, path: Path, recipe: Recipe, store: Store, manifest: Mapping[str, Any]) -> None:
        self.path, self.recipe, self.store, self.manifest = path, recipe, store, manifest

    @classmethod
    def create(cls, path: Path, recipe: Recipe, about: About, start: bytes = b"") -> TrainDir:
        """Make a new directory, aside, and rename it.

        Args:
            start: the checkpoint file that training goes on from; empty where it begins from nothing.

        Raises:
            TelosError: the path is taken, or cannot be written.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise TelosError(f"--out {path}", "a path that is taken", "a new or an empty directory")
        scratch = path.with_name(f".{path.name}.part-{os.getpid()}")
        values = recipe.model_dump(mode="json")
        manifest = {
            "version": SCHEMA,
            "recipe_sha256": digest(values),
            "threads": recipe.threads,
            "versions": provenance.versions(),
            "commit": provenance.commit(),
        }
        with writing(path):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                scratch.mkdir()
                write(scratch / "recipe.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode())
                Store.create(scratch / "store", about)
                for name in ("curve.jsonl", "log.jsonl"):
                    write(scratch / name, b"")
                if start:
                    write(scratch / START, start)
                write(scratch / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
                scratch.replace(path)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> TrainDir:
        """Open a directory.

        Raises:
            TelosError: no training run, a recipe that was changed, or another schema.
        """
        if not is_training(path):
            given = "no recipe.yaml and manifest.json" if path.is_dir() else "no such directory"
            raise TelosError(str(path), given, TRAINED)
        try:
            manifest = json.loads(contents(path / "manifest.json"))
            version, sha256, _ = manifest["version"], manifest["recipe_sha256"], dict(manifest["versions"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise TelosError(str(path / "manifest.json"), "no manifest of a training run", TRAINED) from None
        if version != SCHEMA:
            raise TelosError(f"{path / 'manifest.json'}: version", repr(version), f"{SCHEMA}, which this telos reads")
        said = read(path / "recipe.yaml")
        if digest(said) != sha256:  # of the values, because a later telos may have more fields, with defaults
            raise TelosError(str(path / "recipe.yaml"), "a recipe that has changed", "the recipe as the run began")
        recipe = validated(Recipe, said, str(path / "recipe.yaml"))
        return cls(path, recipe, Store.open(path / "store"), manifest)

    def save(self, tensors: Mapping[str, Tensor], counts: Mapping[str, Any]) -> None:
        """Write the state of a whole cycle; it counts once this returns."""
        write(self.path / "state.safetensors", packed(tensors, {"counts": json.dumps(dict(counts))}))

    def restore(self, replayed: Mapping[str, str], episodes: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The last whole cycle's tensors and counts, empty before the first; cuts what came after it.

        Call it under the lock alone: what another process has written since is cut too.

        Args:
            replayed: the stores that are replayed, with their digests.
            episodes: of these stores.

        Raises:
            TelosError: a state that is damaged, or that store and logs are behind; or stores that have changed. Nothing
                is cut then.
        """
        file = self.path / "state.safetensors"
        tensors: dict[str, Tensor] = {}
        counts: dict[str, Any] = dict.fromkeys(COUNTS, 0)
        if file.exists():
            data = contents(file)
            try:
                counts = json.loads(metadata(data)["counts"])
                tensors = load(data)
                if not all(type(counts[name]) is int for name in COUNTS):
                    raise ValueError("counts")
            except (SafetensorError, ValueError, LookupError, TypeError, RecursionError):
                raise TelosError(str(file), "an unreadable state", "the file as `telos train` wrote it") from None
            if counts.get("replayed") != dict(replayed):
                allowed = "the stores as they were"
                raise TelosError("replay", "a store that has changed since the training began", allowed)
        lines = {name: self._whole(name) for name in ("curve", "log")}
        for name, found in lines.items():
            if len(found) < counts[name]:
                allowed = f"{counts[name]}, as the state says"
                raise TelosError(str(self.path / f"{name}.jsonl"), f"{len(found)} lines", allowed)
        self.store.cut(max(counts["cycles"] - episodes, 0))
        for name, found in lines.items():
            write(self.path / f"{name}.jsonl", b"".join(found[: counts[name]]))
        return tensors, counts

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Append a line to curve.jsonl or log.jsonl."""
        with writing(self.path), (self.path / f"{name}.jsonl").open("ab") as file:
            file.write((json.dumps(row) + "\n").encode())

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The rows of curve.jsonl or log.jsonl."""
        return [json.loads(line) for line in self._whole(name)]

    def _whole(self, name: str) -> list[bytes]:
        """The lines of a log; one that a killed process did not finish is left out."""
        found = contents(self.path / f"{name}.jsonl").splitlines(keepends=True)
        return [line for line in found if line.endswith(b"\n")]


def is_training(path: Path) -> bool:
    """Whether a directory is that of a training run."""
    return (path / "recipe.yaml").is_file() and (path / "manifest.json").is_file()
