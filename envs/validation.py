"""Validates data with a closed pydantic model, and reports failures as TelosError."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, Tag, ValidationError

from envs.errors import TelosError, nearest

ModelT = TypeVar("ModelT", bound=BaseModel)


def validated(model: type[ModelT], data: Any, where: str) -> ModelT:
    """`data` as a `model`. Raises TelosError that names the key under `where`, what is allowed, the nearest match."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _translated(error, model, where) from None


def _translated(error: ValidationError, model: type[BaseModel], where: str) -> TelosError:
    """The first of pydantic's errors as a TelosError; unknown keys come first, as they explain missing ones."""
    problems = error.errors(include_url=False)
    problem = min(problems, key=lambda item: item["type"] != "extra_forbidden")
    here, path = _follow(model, problem["loc"])
    where = where + path
    given, context = repr(problem["input"]), problem.get("ctx", {})
    key = str(problem["loc"][-1]) if problem["loc"] else ""
    also = f" ({len(problems) - 1} more to mend)" if len(problems) > 1 else ""
    match problem["type"]:
        case "extra_forbidden":
            options = list(here.model_fields)
            return TelosError(where, f"an unknown key{also}", options, nearest(key, options))
        case "missing":
            return TelosError(where, f"nothing{also}", "a value: it has no default")
        case "literal_error":
            options = _choices(here.model_fields[key].annotation)
            return TelosError(where, given + also, options, nearest(problem["input"], options))
        case "union_tag_invalid":
            options = [x.strip("' ") for x in str(context["expected_tags"]).split(",")]
            where = f"{where}.{context['discriminator'].strip(chr(39))}"
            return TelosError(where, repr(context["tag"]) + also, options, nearest(context["tag"], options))
        case "union_tag_not_found":
            where = f"{where}.{context['discriminator'].strip(chr(39))}"
            return TelosError(where, f"nothing{also}", "a value: it has no default")
        case "string_too_short":
            return TelosError(where, given + also, "text that is not empty")
        case "value_error" if not problem["loc"]:
            # An error about several keys at once: the message names them, so the whole input is not shown.
            return TelosError(where, f"limits that do not fit{also}", str(context["error"]))
        case _:
            said = problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
            return TelosError(where, given + also, said, context.get("nearest"))


def _choices(annotation: Any) -> list[str]:
    """The values of a Literal, also inside a union; None is a value too."""
    if annotation is type(None):
        return ["null"]
    return [name for part in get_args(annotation) for name in (_choices(part) or [str(part)])]


def _follow(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[type[BaseModel], str]:
    """The model that an error is about, and its path as the user wrote it, without pydantic's union members."""
    path, members = "", []
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        chosen = [x for x, tags in members if part in tags]
        if chosen:
            model, members = chosen[0], []
            continue
        path += f".{part}"
        field = model.model_fields.get(part)
        members = [] if field is None else _members(field.annotation)
        if len(members) == 1:
            model, members = members[0][0], []
    return model, path


def _members(annotation: Any) -> list[tuple[type[BaseModel], set[Any]]]:
    """The models among an annotation and its union's members, each with the tags that pydantic's paths give it."""
    found = []
    for part in (annotation, *get_args(annotation)):
        tags = {note.tag for note in getattr(part, "__metadata__", ()) if isinstance(note, Tag)}
        kind = get_args(part)[0] if tags else part
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            defaults = (field.default for field in kind.model_fields.values())
            found.append((kind, tags | {value for value in defaults if isinstance(value, str)}))
    return found
