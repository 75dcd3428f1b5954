"""The differences between two runs other than their results, and what each means for a comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.config.config import Config
from agent.runs.manifest import Manifest
from agent.runs.rundir import RunDir

NONE = "–"
LONGEST = 40  # maximum length of a value as shown
MEANING = {
    "variant": "the worlds differ",
    "frames": "episodes of different length",
    "perception": "the agents do not see the same",
    "guardrails": "the guardrails differ: margins and violations do not mean the same",
    "back_up": "the back-ups differ: what counts as a safe stop does not mean the same",
    "planner.budget": "one searches more than the other",
    "real_time": "the world does not wait alike",
    "threads": "times do not compare",
}
"""Configuration fields that change what the results mean, and how; other fields are what the user compares."""


@dataclass(frozen=True)
class Differing:
    """One field in which two runs differ."""

    field: str  # dotted name
    a: str  # value in each run, shortened
    b: str
    meaning: str  # how the difference changes what the results mean; "" if it does not

    def __str__(self) -> str:
        text = f"{self.field} {self.a} → {self.b}"
        return f"{text}: {self.meaning}" if self.meaning else text


def between(a: RunDir, b: RunDir) -> tuple[Differing, ...]:
    """All fields in which two runs of one task differ; first those that change what the results mean."""
    found = [*_of_manifests(a.manifest, b.manifest), *_of_configs(a.config, b.config)]
    return tuple(sorted(found, key=lambda one: not one.meaning))


def _of_configs(a: Config, b: Config) -> Iterator[Differing]:
    left, right = (dict(_flat(config.model_dump(mode="json"))) for config in (a, b))
    for name in sorted(left.keys() | right.keys()):
        if left.get(name) != right.get(name):
            yield Differing(name, _shown(left.get(name)), _shown(right.get(name)), _meaning(name))


def _of_manifests(a: Manifest, b: Manifest) -> Iterator[Differing]:
    if a.guardrails_sha256 != b.guardrails_sha256:
        yield _digests("guardrails_sha256", a.guardrails_sha256, b.guardrails_sha256, MEANING["guardrails"])
    elif a.rules_sha256 != b.rules_sha256:
        what = "the back-up, or the physics of world_model.variants: what counts as a safe stop does not mean the same"
        yield _digests("rules_sha256", a.rules_sha256, b.rules_sha256, what)
    for name in sorted(a.files_sha256.keys() | b.files_sha256.keys()):
        before, after = a.files_sha256.get(name), b.files_sha256.get(name)
        if before != after:
            yield _digests(f"files_sha256.{name}", before, after, "the task's files differ: it may be another task")
    for name in sorted(a.versions.keys() | b.versions.keys()):
        before, after = a.versions.get(name), b.versions.get(name)
        if before != after:
            yield Differing(f"versions.{name}", before or NONE, after or NONE, "other versions")
    if a.commit != b.commit:
        yield Differing("commit", _shown(a.commit), _shown(b.commit), "other code")
    if a.schema != b.schema:
        yield Differing("schema", str(a.schema), str(b.schema), "the older one is not verified")


def _digests(field: str, a: str | None, b: str | None, meaning: str) -> Differing:
    first, second = (NONE if value is None else f"{value[:12]}…" for value in (a, b))
    return Differing(field, first, second, meaning)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a nested value by dotted name.

    Items of a list are named by their `name` if all have one, and otherwise by their index.
    """
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list):
        named = all(isinstance(item, Mapping) and "name" in item for item in value)
        items = [(item["name"] if named else index, item) for index, item in enumerate(value)]
    else:
        yield name, value
        return
    for key, item in items:
        yield from _flat(item, f"{name}.{key}" if name else str(key))


def _meaning(field: str) -> str:
    return next((text for part, text in MEANING.items() if field == part or field.startswith(f"{part}.")), "")


def _shown(value: Any) -> str:
    if value is None:
        return NONE
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
