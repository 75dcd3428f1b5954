"""Reads a task's YAML file and its MJCF model, with errors that tell the user what to change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import mujoco
from pydantic import BaseModel, ValidationError

from envs import yaml_file
from envs.errors import TelosError, nearest
from envs.mjcf.parts import check_regular, parts
from envs.physics import compiler


def check_file(where: str, path: Path, kind: str) -> None:
    """Refuse a path that is not a regular file.

    Raises:
        TelosError: missing, out of reach, a directory, or a pipe, socket or device, reading which may never end.
    """
    try:
        if path.is_dir():
            raise TelosError(where, f"a directory ({path})", kind)
        if path.exists():
            return check_regular(where, path, kind)
        if path.is_symlink():
            raise TelosError(where, f"{str(path)!r}, a symbolic link that leads to no file", kind)
        others = [entry.name for entry in path.parent.iterdir() if entry != path] if path.parent.is_dir() else []
    except OSError as error:
        raise TelosError(where, f"{str(path)!r}, which cannot be reached ({error.strerror})", kind) from None
    raise TelosError(where, f"{str(path)!r}, which does not exist", kind, nearest(path.name, others))


def read_text(where: str, path: Path, kind: str) -> str:
    """The text of a file.

    Raises:
        TelosError: missing, a directory, unreadable, binary, or empty.
    """
    check_file(where, path, kind)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise TelosError(where, f"a binary file ({path})", kind) from None
    except OSError as error:
        raise TelosError(where, f"a file that cannot be read ({error.strerror})", kind) from None
    if "\0" in text:
        raise TelosError(where, f"a binary file ({path})", kind)
    if not text.strip():
        raise TelosError(where, f"an empty file ({path})", kind)
    return text


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        TelosError: not a file, not YAML, or not a mapping.
    """
    kind = "a YAML file that describes a task"
    text = read_text(str(path), Path(path), kind)
    content = yaml_file.content(text, str(path), kind)
    if not isinstance(content, dict):
        raise TelosError(str(path), f"a {type(content).__name__}", "a mapping with at least a model")
    return content


def examined_model(path: str | Path, model_path: Path) -> mujoco.MjModel:
    """The compiled model of the MJCF file that a YAML file names; compiler warnings are logged once.

    Raises:
        TelosError: not a file, not XML, or not a model that MuJoCo compiles.
    """
    where, kind = f"{path}: model", "an MJCF file (XML)"
    check_file(where, model_path, kind)
    if model_path.stat().st_size == 0:
        raise TelosError(where, f"an empty file ({model_path})", kind)
    parts(where, model_path)  # refuses pipes, on which MuJoCo would block
    try:
        str(model_path).encode()
    except UnicodeEncodeError:
        raise TelosError(where, repr(str(model_path)), "a path in UTF-8, as MuJoCo takes no other") from None
    try:
        model = compiler.examined(str(model_path))
        model.names.decode()
    except UnicodeDecodeError:
        raise TelosError(where, f"{str(model_path)!r}, with names that are not UTF-8", "a file in UTF-8") from None
    except Exception as error:  # MuJoCo raises errors of many types
        said = " ".join(str(error).split())
        if any(sign in said for sign in ("XML parse error", "XML_ERROR", "could not find decoder")):
            raise TelosError(where, f"{str(model_path)!r}, which is not XML ({said})", kind) from None
        raise TelosError(where, f"{str(model_path)!r}: {said}", "a model that MuJoCo compiles") from None
    return model


def translated(
    path: str | Path, content: Any, error: ValidationError, models: Mapping[str, type[BaseModel]]
) -> TelosError:
    """The first of pydantic's errors as a TelosError.

    Args:
        path: the file.
        content: the data that was validated.
        error: pydantic's error.
        models: key without indices -> the model of its entries.
    """
    first = error.errors()[0]
    missing = first["type"] in ("missing", "extra_forbidden")
    where, section = "", ""
    value: Any = content
    for i, part in enumerate(first["loc"]):
        last = i == len(first["loc"]) - 1
        try:
            value = cast(Any, value)[part]
        except (KeyError, IndexError, TypeError):
            if not (missing and last):
                break  # pydantic appends the union member that it tried
        if isinstance(part, int):
            where += f"[{part}]"
            continue
        if not (missing and last) and isinstance(value, (dict, list)):
            section = f"{section}.{part}".strip(".")
        where += f".{part}" if where else str(part)
    where = f"{path}: {where}" if where else str(path)
    if missing:
        model = models.get(section) or models.get(section.rpartition(".")[0]) or models[""]
        fields = list(model.model_fields)
        name = str(first["loc"][-1])
        given = "nothing" if first["type"] == "missing" else repr(value)
        return TelosError(where, given, ", ".join(fields), nearest(name, fields))
    message = first["msg"].removeprefix("Value error, ")
    given = "this" if isinstance(value, dict) else repr(value)
    return TelosError(where, given, message)
