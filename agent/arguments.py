"""From words on the command line to a command and overrides of config fields."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

import tyro

from envs.errors import TelosError

SHORT = MappingProxyType(
    {"planner": "planner.kind", "video": "video.which", "camera": "video.camera", "trace": "video.trace"}
)
"""Flags that stand for a field inside a section."""


class Misuse(Exception):
    """Arguments that the command does not take; its text is the whole message."""


def parse(arguments: list[str], commands: Mapping[str, type[Any]]) -> Any:
    """The command with its arguments; a mistake becomes one line. SystemExit for --help."""
    names = list(commands)
    if not arguments:
        arguments.append("--help")
    first = arguments[0]
    if not first.startswith("-") and first not in commands:
        raise TelosError.unknown("telos", first, names)
    union: Any = None
    for name, kind in commands.items():
        member = Annotated[kind, tyro.conf.subcommand(name)]  # type: ignore[valid-type]
        union = member if union is None else union | member
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                union,
                prog="telos",
                description="Objective-driven agents: plan with a world model under an immutable guardrail.",
                args=arguments,
                config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        text = " ".join(re.sub(r"[╭╮╰╯│─]+", " ", complaint.getvalue()).split())
        text = re.sub(r" ?(Argument helptext|For full helptext).*", "", text)
        where = f"telos {first}" if first in commands else "telos"
        raise Misuse(f"{where}: {text}; see `{where} --help`") from None


def split(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Config fields of `telos run` apart from its own flags; what they hold is checked with the config.

    Raises:
        TelosError: an unknown field, one without a value, or a flag given twice: the last would silently win.
    """
    given: set[str] = set()
    if arguments[:1] != ["run"]:
        for word in arguments:
            _once(f"telos {arguments[0]}", word.partition("=")[0], given)
        if arguments[:1] == ["bench"] and len(arguments) > 2:
            arguments = [*arguments[:2], "--", *arguments[2:]]  # a benchmark reads its own
        return arguments, {}
    own = ("--task", "--out", "--workers", "--ray", "--help")
    rest, overrides, words = ["run"], {}, iter(arguments[1:])
    for word in words:
        name, equals, value = word.partition("=")
        if not word.startswith("--") or word == "--":
            rest.append(word)
        elif name in own:
            _once("telos run", name, given)
            rest.append(word)
            if not equals and name != "--help":
                rest.extend(value for value in [next(words, None)] if value is not None)
        else:
            found = value if equals else next(words, None)
            key = _key(name)
            fields = _fields()
            if key.split(".")[0] not in fields and key not in SHORT:
                raise TelosError.unknown("telos run", name, {*own, *(f"--{field}" for field in (*fields, *SHORT))})
            if found is None or (not equals and found.startswith("--")):
                raise TelosError(f"telos run {name}", "nothing", f"a value: {name} VALUE")
            value = _value(name, found)
            key = key if isinstance(value, dict) else SHORT.get(key, key)
            _once("telos run", f"--{key}", given)
            overrides[key] = value
    return rest, overrides


def _key(flag: str) -> str:
    """The config field of a flag, in which - is as good as _; but names of zones are the user's own."""
    first, dot, rest = flag.removeprefix("--").partition(".")
    first = first.replace("-", "_")
    return f"{first}{dot}{rest if first == 'zones' else rest.replace('-', '_')}"


def _once(where: str, flag: str, given: set[str]) -> None:
    """Note a flag. Raises TelosError where it was given before."""
    key = flag.replace("_", "-")
    if key in given and key.startswith("--") and key != "--help":
        raise TelosError(where, f"{flag} twice", f"{flag} once; a list holds several values")
    given.add(key)


def _fields() -> list[str]:
    quiet_gl(video=True)
    from agent.config import Config

    return list(Config.model_fields)


def _value(name: str, text: str) -> Any:
    """A value as YAML reads it."""
    from envs import yaml_file

    try:
        return yaml_file.parse(text)
    except yaml_file.MISTAKES as error:
        why = " ".join(str(getattr(error, "problem", None) or error).split())
        raise TelosError(f"telos run {name}", f"{text!r} ({why})", "a YAML value") from None


def quiet_gl(video: bool) -> None:
    """Choose MuJoCo's GL backend before it is imported, and keep its import quiet."""
    from envs import render

    warnings.filterwarnings("ignore", message="(overflow|invalid value) encountered")  # judged where it matters
    warnings.filterwarnings("ignore", module=r"(glfw|OpenGL|dm_control|gymnasium|shimmy|absl)\b")
    logging.getLogger("absl").setLevel(logging.ERROR)  # about other people's XML, which the user cannot mend
    render.prepare(video)
