"""Parses the command line into a command and overrides of configuration fields."""

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

TITLE = re.compile("^[A-Z][a-z]+ [a-z]+ (?=Unrecognized |Missing |Error |Invalid |invalid )")  # redundant title of tyro
MAX_LEVELS = 10  # of nested fields
POSITIONAL = get_args(tyro.conf.Positional[str])[1]  # marks a field that is a positional argument, not a flag
SHORT = MappingProxyType(
    {
        "run": {
            "planner": "planner.kind",
            "video": "video.which",
            "camera": "video.camera",
            "trace": "video.trace",
        },
        "train": {"from": "start"},
    }
)
"""Command -> its short flags -> the fields that they set."""

OWN = MappingProxyType(
    {
        "run": ("--task", "--model", "--out", "--workers", "--ray", "--logger", "--help"),
        "train": ("--out", "--help"),
        "collect": ("--task", "--by", "--steps", "--out", "--help"),
    }
)
"""Command -> its own flags; all others are fields of what it configures."""


class Misuse(Exception):
    """The arguments are wrong; the text of the exception is the whole message for the user."""


def parse(arguments: list[str], commands: Mapping[str, type[Any]]) -> Any:
    """Parse the arguments into an instance of a command. Every error has a message of one line.

    Raises:
        SystemExit: the user asked for --help.
        TelosError: a command, choice or flag is unknown, a value is missing, or it is not a whole number where one is
            required.
        Misuse: any other error in the arguments.
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
    """For a command whose first argument has fixed choices, raise TelosError if it is missing or not one of them."""
    hints = get_type_hints(kind)
    first = next((field.name for field in dataclasses.fields(kind)), None)
    choices = get_args(hints[first]) if first and get_origin(hints[first]) is Literal else ()
    word = arguments[0] if arguments else ""
    if choices and not word:
        raise TelosError(f"{command}", "nothing", choices)
    if choices and not word.startswith("-") and word not in choices:
        raise TelosError.unknown(f"{command}", word, choices, f"telos {command} --help")


def _flags(kind: type[Any]) -> list[str]:
    """The flags of a command."""
    hints = get_type_hints(kind, include_extras=True)
    return [f"--{name}" for name, hint in hints.items() if POSITIONAL not in get_args(hint)]


def _misuse(first: str, commands: Mapping[str, type[Any]], complaint: str) -> Exception:
    """The exception for tyro's error message, shortened to one line."""
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
    """Separate the fields of a configuration or recipe among the arguments of `run` and `train` from their own flags.

    The values are checked later, with the configuration.

    Returns:
        The remaining arguments, and the overrides of configuration fields.

    Raises:
        TelosError: a field is unknown or has no value, or a flag is given twice (the last would silently win).
    """
    given: set[str] = set()
    command = arguments[0] if arguments else ""
    if command not in OWN:
        for word in arguments:
            _once(command, word.partition("=")[0], given)
        if command == "bench" and len(arguments) > 2:
            arguments = [*arguments[:2], "--", *arguments[2:]]  # the benchmark parses the rest itself
        return arguments, {}
    own, short, fields = OWN[command], SHORT.get(command, {}), _fields(command)
    rest, overrides, words = [command], {}, iter(arguments[1:])
    for word in words:
        name, equals, value = word.partition("=")
        if not word.startswith("--") or word == "--":
            rest.append(word)
        elif name in own:
            _once(command, name, given)
            rest.append(word)
            if not equals and name != "--help":
                rest.extend(value for value in [next(words, None)] if value is not None)
        else:
            found = value if equals else next(words, None)
            key = _key(command, name)
            if key.split(".")[0] not in fields and key not in short:
                raise TelosError.unknown(command, name, {*own, *(f"--{field}" for field in (*fields, *short))})
            if found is None or (not equals and found.startswith("--")):
                raise TelosError(f"{command} {name}", "nothing", f"a value: {name} VALUE")
            value = _value(f"{command} {name}", found)
            key = key if isinstance(value, dict) else short.get(key, key)
            _once(command, f"--{key}", given)
            overrides[key] = value
    return rest, overrides


def _key(command: str, flag: str) -> str:
    """The configuration field of a flag, with - replaced by _, except in the names of zones, which the user chooses.

    Raises:
        TelosError: the flag has more levels than any field, or cannot be encoded in UTF-8.
    """
    if flag.count(".") >= MAX_LEVELS:
        raise TelosError(f"{command} {flag[:40]}…", f"{flag.count('.') + 1} levels", f"at most {MAX_LEVELS}")
    try:
        flag.encode()
    except UnicodeEncodeError:
        raise TelosError(command, repr(flag), "a name in UTF-8") from None
    first, dot, rest = flag.removeprefix("--").partition(".")
    first = first.replace("-", "_")
    return f"{first}{dot}{rest if first == 'zones' else rest.replace('-', '_')}"


def _once(where: str, flag: str, given: set[str]) -> None:
    """Record a flag as given. Raises TelosError if it was given before."""
    key = flag.replace("_", "-")
    if key in given and key.startswith("--") and key != "--help":
        raise TelosError(where, f"{flag} twice", f"{flag} once; a list holds several values")
    given.add(key)


def _fields(command: str) -> list[str]:
    """The fields of what the command configures."""
    quiet_gl(video=True)
    if command == "train":
        from agent.learning.recipe import Recipe

        return list(Recipe.model_fields)
    from agent.config.config import Config

    return list(Config.model_fields)


def _value(where: str, text: str) -> Any:
    """The value of a flag, parsed as YAML."""
    from envs import yaml_file

    return yaml_file.content(text, where, "a YAML value")
