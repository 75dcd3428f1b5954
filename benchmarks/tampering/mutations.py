"""Random changes to a run directory, as a faulty disk, a mistake or a forger could make them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

from agent.runs.manifest import digest

Rng = np.random.Generator
Mutation = Callable[[Rng, Path, Mapping[str, Path]], str]
"""(random generator, run directory, other runs by name) -> description; changes the run directory."""


def _files(run: Path) -> list[Path]:
    """The files that are evidence: config, manifest, rows and steps, but not report and video."""
    return [run / name for name in ("config.yaml", "manifest.json", "episodes.jsonl")] + sorted(run.glob("steps/*.npz"))


def _one(rng: Rng, items: Any) -> Any:
    items = list(items)
    return items[int(rng.integers(len(items)))]


def a_byte(rng: Rng, run: Path, others: Mapping[str, Path]) -> str:
    """Change, delete or insert one byte."""
    file = _one(rng, [file for file in _files(run) if file.stat().st_size])
    data, how = bytearray(file.read_bytes()), _one(rng, ("flip", "set", "drop", "add"))
    at = int(rng.integers(len(data)))
    if how == "flip":
        data[at] ^= 1 << int(rng.integers(8))
    elif how == "set":
        data[at] = int(rng.integers(256))
    elif how == "drop":
        del data[at]
    else:
        data.insert(at, int(rng.integers(256)))
    file.write_bytes(data)
    return f"{how} byte {at} of {file.name}"


def a_length(rng: Rng, run: Path, others: Mapping[str, Path]) -> str:
    """Delete, empty or truncate a file, or double its content."""
    file, how = _one(rng, _files(run)), _one(rng, ("delete", "empty", "cut", "double"))
    data = file.read_bytes()
    if how == "delete":
        file.unlink()
    else:
        kept = {"empty": b"", "cut": data[: int(rng.integers(len(data)))], "double": data + data}
        file.write_bytes(kept[how])
    return f"{how} {file.name}"


def a_setting(rng: Rng, run: Path, others: Mapping[str, Path]) -> str:
    """Change a value of config.yaml; half of the time recompute the manifest's digests too."""
    file = run / "config.yaml"
    values = yaml.safe_load(file.read_text())
    what = _edit(rng, values)
    file.write_text(yaml.safe_dump(values))
    if rng.random() < 0.5:
        _reseal(run / "manifest.json", {"config_sha256": digest(values)})
        what += ", digests anew"
    return what


def a_manifest(rng: Rng, run: Path, others: Mapping[str, Path]) -> str:
    """Change a value of manifest.json; half of the time recompute its own digest too."""
    file = run / "manifest.json"
    values = json.loads(file.read_text())
    stated = values.pop("sha256")
    what = _edit(rng, values)
    file.write_text(json.dumps({**values, "sha256": stated}))
    if rng.random() < 0.5:
        _reseal(file, {})
        what += ", digest anew"
    return what


def a_row(rng: Rng, run: Path, others: Mapping[str, Path]) -> str:
    """Change a value of a row and recompute its checksum."""
    file = run / "episodes.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    at = int(rng.integers(len(lines)))
    values = json.loads(lines[at])
    del values["sha256"]
    what = _edit(rng, values)
    text = json.dumps(values)
    lines[at] = f'{text[:-1]}, "sha256": "{hashlib.sha256(text.encode()).hexdigest()}"}}\n'
    file.write_text("".join(lines))
    return f"{what} of row {at}, checksum anew"


def an_array(rng: Rng, run: Path, others: Mapping[str, Path]) -> str:
    """Change numbers in an array of a steps file, or change the array's type, drop it, or cut its last entry."""
    file = _one(rng, run.glob("steps/*.npz"))
    with np.load(file) as stored:
        arrays = {name: stored[name].copy() for name in stored.files}
    name = _one(rng, [name for name, array in arrays.items() if array.size])
    array, how = arrays[name], _one(rng, ("number", "number", "number", "all", "drop", "cut", "type"))
    if how == "drop":
        del arrays[name]
    elif how == "cut":
        arrays[name] = array.ravel()[:-1]
    elif how == "type":
        arrays[name] = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(bytes)
    else:
        where = int(rng.integers(array.size)) if how == "number" else slice(None)
        flat = array.reshape(-1)
        if array.dtype.kind == "b":
            flat[where] = ~flat[where]
        elif array.dtype.kind == "f":
            flat[where] = flat[where] + _one(rng, (1.0, -1.0, 1e-9, np.nan, np.inf))
        else:
            arrays[name] = np.char.add(array, "x")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    file.write_bytes(buffer.getvalue())
    return f"{how} in {name} of {file.name}"


def a_swap(rng: Rng, run: Path, others: Mapping[str, Path]) -> str:
    """Replace files by those of another run, or exchange the steps of two episodes."""
    own, names = sorted(run.glob("steps/*.npz")), sorted(others)
    if rng.random() < 0.3 and len(own) > 1:
        first, second = (own[int(at)] for at in rng.permutation(len(own))[:2])
        before = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(before)
        return f"{first.name} and {second.name} exchanged"
    name = _one(rng, names)
    whole = [("config.yaml",), ("manifest.json",), ("episodes.jsonl",), (own[0].relative_to(run),)]
    whole += [("config.yaml", "manifest.json"), ("manifest.json", "episodes.jsonl")]
    whole += [
        ("config.yaml", "manifest.json", "episodes.jsonl"),
        ("episodes.jsonl", *(f.relative_to(run) for f in own)),
    ]
    taken = _one(rng, whole)
    for file in taken:
        shutil.copyfile(others[name] / file, run / file)
    return f"{', '.join(Path(file).name for file in taken)} of {name}"


def lines(rng: Rng, run: Path, others: Mapping[str, Path]) -> str:
    """Double, delete, reverse or tear lines of episodes.jsonl, or replace one by another run's."""
    file = run / "episodes.jsonl"
    there = file.read_bytes().splitlines(keepends=True)
    at, how = int(rng.integers(len(there))), _one(rng, ("double", "lose", "order", "tear", "foreign"))
    if how == "double":
        there.insert(at, there[at])
    elif how == "lose":
        del there[at]
    elif how == "order":
        there = there[::-1]
    elif how == "tear":
        there[-1] = there[-1][: int(rng.integers(len(there[-1])))]
    else:
        name = _one(rng, sorted(others))
        there[at] = (others[name] / "episodes.jsonl").read_bytes().splitlines(keepends=True)[0]
        how = f"foreign ({name})"
    file.write_bytes(b"".join(there))
    return f"{how} line {at}"


def a_form(rng: Rng, run: Path, others: Mapping[str, Path]) -> str:
    """Write the same content in another form."""
    how = _one(rng, ("remark", "keys", "indent", "spaces", "zip"))
    if how == "remark":
        file = run / "config.yaml"
        file.write_text("# a remark\n" + file.read_text())
    elif how == "keys":
        file = run / "config.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()), sort_keys=True))
    elif how == "indent":
        file = run / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()), indent=7, sort_keys=True))
    elif how == "spaces":
        file = run / "episodes.jsonl"
        file.write_text(file.read_text().replace('": ', '":   '))
    else:
        file = _one(rng, run.glob("steps/*.npz"))
        with np.load(file) as stored:
            arrays = {name: stored[name] for name in stored.files}
        np.savez(file, **arrays)
    return f"{how} of {file.name}"


def no_file(rng: Rng, run: Path, others: Mapping[str, Path]) -> str:
    """Replace a file by a FIFO, a link to a FIFO or to a device, or a directory."""
    file, how = _one(rng, [*_files(run), run / "summary.json"]), _one(rng, ("fifo", "link", "device", "directory"))
    file.unlink(missing_ok=True)
    if how == "fifo":
        os.mkfifo(file)
    elif how == "link":
        os.mkfifo(run / "pipe")
        file.symlink_to("pipe")
    elif how == "device":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    return f"{how} for {file.name}"


def what_follows(rng: Rng, run: Path, others: Mapping[str, Path]) -> str:
    """Change or delete a file that is derived from the evidence."""
    file = _one(rng, [run / "summary.json", run / "memory.safetensors"])
    if rng.random() < 0.5 or not file.exists():
        file.unlink(missing_ok=True)
        return f"delete {file.name}"
    data = bytearray(file.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)
    return f"flip a bit of {file.name}"


KINDS: Mapping[str, Mutation] = MappingProxyType(
    {
        "a byte": a_byte,
        "a file's length": a_length,
        "a value of config.yaml": a_setting,
        "a value of manifest.json": a_manifest,
        "a value of a row, with its checksum": a_row,
        "an array of a steps file": an_array,
        "files of another run or episode": a_swap,
        "lines of episodes.jsonl": lines,
        "the same content, written otherwise": a_form,
        "no regular file": no_file,
        "summary or memory": what_follows,
    }
)


def _edit(rng: Rng, values: Any) -> str:
    """Change one leaf of nested values in place; returns its dotted name."""
    places = _places(values)
    path = places[int(rng.integers(len(places)))]
    within = values
    for key in path[:-1]:
        within = within[key]
    within[path[-1]] = _other(rng, within[path[-1]])
    return ".".join(map(str, path))


def _places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(values, dict | list) or not values:
        return [path]
    items = values.items() if isinstance(values, dict) else enumerate(values)
    return [place for key, value in items for place in _places(value, (*path, key))]


def _other(rng: Rng, value: Any) -> Any:
    """A different value, of the same type except for null and empty collections."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + _one(rng, (1, -1, 100))
    if isinstance(value, float):
        return _one(rng, (value * 1.5 + 0.1, -value - 1.0, value + 1e-6))
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1") if value else "x"
    return _one(rng, (1, "x", True))


def _reseal(file: Path, more: Mapping[str, Any]) -> None:
    """Change values of a manifest and recompute its digest."""
    values = {**json.loads(file.read_text()), **more}
    values.pop("sha256")
    file.write_text(json.dumps({**values, "sha256": digest(values)}))
