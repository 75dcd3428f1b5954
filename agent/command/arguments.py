"""From words on the command line to a command and overrides of config fields."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from envs.errors import TelosError
from envs.render import quiet_gl

TITLE = re.compile("^[A-Z][a-z]+ [a-z]+ (?=Unrecognized |Missing |Error |Invalid |invalid )")  # says what follows again
MAX_LEVELS = 10  # of a field in fields
POSITIONAL = get_args(tyro.conf.Positional[str])[1]  # marks a field that is a word, not a flag
SHORT = MappingProxyType(
    {"planner": "planner.kind", "video": "video.which", "camera": "video.camera", "trace": "video.trace"}
)
"""Flags that stand for a field inside a section."""


class Misuse(Exception):
    """Arguments that the command does not take; its text is the whole message."""


def parse(arguments: list[str], commands: Mapping[str, type[Any]]) -> Any:
    """The command with its arguments; a mistake becomes one line. SystemExit for --help.

    Raises:
        TelosError: an unknown command, choice or flag, or a flag's value of another kind.
        Misuse: anything else that the command does not take.
    """
    if not arguments:
        arguments.append("--help")
    first = arguments[0]
    if not first.startswith("-") and first not in commands:
        raise TelosError.unknown("command", first, commands)
    if first in commands:
        _check_choice(first, arguments[1:], commands[first])
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
                description="Objective-driven agents: plan with a world model under an immutable guardrail. "
                "`telos --version` prints the version.",
                args=arguments,
                config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise _misuse(first, commands, complaint.getvalue()) from None


def _check_choice(command: str, arguments: list[str], kind: type[Any]) -> None:
    """Raises TelosError where the command's first word is none of those that it takes."""
    hints = get_type_hints(kind)
    first = next((field.name for field in dataclasses.fields(kind)), None)
    choices = get_args(hints[first]) if first and get_origin(hints[first]) is Literal else ()
    word = arguments[0] if arguments else ""
    if choices and not word:
        raise TelosError(f"{command}", "nothing", choices)
    if choices and not word.startswith("-") and word not in choices:
        raise TelosError.unknown(f"{command}", word, choices, f"telos {command} --help")


def _flags(kind: type[Any]) -> list[str]:
    """What a command takes besides its words."""
    hints = get_type_hints(kind, include_extras=True)
    return [f"--{name}" for name, hint in hints.items() if POSITIONAL not in get_args(hint)]


def _misuse(first: str, commands: Mapping[str, type[Any]], complaint: str) -> Exception:
    """What tyro complains about, in one line."""
    where = first if first in commands else "options"
    usage = f"telos {first} --help" if first in commands else "telos --help"
    text = " ".join(re.sub(r"[╭╮╰╯│─]+|-{3,}", " ", complaint).split())
    text = TITLE.sub("", text)
    strange = re.match(r"Unrecognized options: (--[^\s,=]+)", text)
    if strange:
        flags = _flags(commands[first]) if first in commands else ["--version"]
        return TelosError.unknown(where, strange[1], ["--help", *flags])
    lacking = re.match(r"Missing from telos \w+: (\S+)", text)
    if lacking:
        return TelosError(where, f"no {lacking[1]}", f"what `{usage}` shows")
    number = re.match(r"Error parsing (--\S+): .*(\[.*?\]|: '.*?')", text)
    value = re.search(r"int\(\) with base 10: ('.*?')", text)
    if number and value:
        return TelosError(f"{where} {number[1]}", value[1], "a whole number")
    text = re.sub(r" ?(Argument helptext|For full helptext|Perhaps you meant|Available subcommands).*", "", text)
    return Misuse(f"{where}: {text}; see `{usage}`")


def split(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Config fields of `telos run` apart from its own flags; what they hold is checked with the config.

    Raises:
        TelosError: an unknown field, one without a value, or a flag given twice: the last would silently win.
    """
    given: set[str] = set()
    if arguments[:1] != ["run"]:
        for word in arguments:
            _once(f"{arguments[0]}", word.partition("=")[0], given)
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
            _once("run", name, given)
            rest.append(word)
            if not equals and name != "--help":
                rest.extend(value for value in [next(words, None)] if value is not None)
        else:
            found = value if equals else next(words, None)
            key = _key(name)
            fields = _fields()
            if key.split(".")[0] not in fields and key not in SHORT:
                raise TelosError.unknown("run", name, {*own, *(f"--{field}" for field in (*fields, *SHORT))})
            if found is None or (not equals and found.startswith("--")):
                raise TelosError(f"run {name}", "nothing", f"a value: {name} VALUE")
            value = _value(name, found)
            key = key if isinstance(value, dict) else SHORT.get(key, key)
            _once("run", f"--{key}", given)
            overrides[key] = value
    return rest, overrides


def _key(flag: str) -> str:
    """The config field of a flag, in which - is as good as _; but names of zones are the user's own.

    Raises:
        TelosError: more levels than any field has, or a name that no file can hold.
    """
    if flag.count(".") >= MAX_LEVELS:
        raise TelosError(f"run {flag[:40]}…", f"{flag.count('.') + 1} levels", f"at most {MAX_LEVELS}")
    try:
        flag.encode()
    except UnicodeEncodeError:
        raise TelosError("run", repr(flag), "a name in UTF-8") from None
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
    from agent.config.config import Config

    return list(Config.model_fields)


def _value(name: str, text: str) -> Any:
    """A value as YAML reads it."""
    from envs import yaml_file

    return yaml_file.content(text, f"run {name}", "a YAML value")
