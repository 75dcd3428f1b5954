"""Build one `Config` from a preset, a file and overrides. A layer may change anything, but it cannot weaken the rules.

The rules are guardrails and back-up. A layer that names another task cannot remove them either. The rules in a task
file were declared by a person. When a layer names another task, they are copied into the config, where they stay in
force. (Building the agent fails if the other model lacks what a rule names.) The back-up of a built-in task fits that
task alone, so it is not copied. But if guardrails were in force together with it, the other task must declare a back-up
of its own, or the config must give one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from agent.config.config import Config, PlannerConfig, video_fields
from envs import registry, yaml_file
from envs.backup import strengthened
from envs.backup_config import BackUpConfig
from envs.errors import GuardrailWeakened, TelosError
from envs.guardrails.registry import build
from envs.validation import validated
from planners.shared import means_the_same

MAX_BYTES = 1_000_000
MAX_DEPTH = 10  # levels of files that extend each other
TUNED = "tuned_seeds"  # like `extends`, a key of a file that is no field of `Config`


def presets() -> dict[str, str]:
    """Names of the shipped presets, with the first comment line of each."""
    return described(_shipped())


def described(entries: Mapping[str, Traversable]) -> dict[str, str]:
    """Names of files, sorted, with the first comment line of each."""
    first = {name: entry.read_text(encoding="utf-8").split("\n", 1)[0] for name, entry in sorted(entries.items())}
    return {name: line.removeprefix("#").strip() for name, line in first.items()}


def preset_of(task: str) -> str:
    """The default preset of a task: its own, that of its dm_control domain, or `default`."""
    name = task.removeprefix("dm_control/").removesuffix("-v0")
    domain = name.partition("-")[0] if name != task else ""
    return next(preset for preset in (name, domain, "default") if preset in _shipped())


def _shipped() -> dict[str, Traversable]:
    """The files of the shipped presets, by name."""
    return shipped("", "domains", "tasks")


def shipped(*folders: str) -> dict[str, Traversable]:
    """The YAML files in folders of `configs`, by name."""
    found = [entry for folder in folders for entry in (files("configs") / folder).iterdir()]
    return {entry.name.removesuffix(".yaml"): entry for entry in found if entry.name.endswith(".yaml")}


def load(
    source: str | None = None,
    task: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] = lambda notice: None,
) -> Config:
    """The configuration of a run.

    Args:
        source: a preset's name or a YAML file, which may contain `extends: PRESET-OR-FILE`; the task's default preset
            where None.
        task: task id, which replaces the source's.
        overrides: dotted config fields, which override both. Their order does not matter, because kinds come first.
        tell: called with notices for the user.

    Raises:
        TelosError: the configuration is wrong, or a layer would weaken the rules (GuardrailWeakened).
    """
    if source is None and task is None:
        raise TelosError("run", "neither a preset nor a task", "`telos run PRESET` or `telos run --task ID`")
    layers = _layers(source if source is not None else preset_of(task or ""), Path(), 0)
    layers = [(where, {key: value for key, value in layer.items() if key != TUNED}) for where, layer in layers]
    if task is not None:
        layers.append(("--task", {"task": task}))
    layers += _given(overrides or {})
    if overrides and {"seed", "seeds"} <= overrides.keys():
        raise TelosError("--seed", "together with --seeds", "one of them")
    merged: dict[str, Any] = {}
    needs_stop: str | None = None
    for where, layer in layers:
        if _relied_on_stop(merged, layer):
            needs_stop = merged["task"]
        merged = over(_refitted(merged, layer, tell), layer, where)
    config = validated(Config, merged, layers[-1][0] if len(layers) == 1 else "config")
    writable(config.task)
    if needs_stop and config.back_up is None and registry.load(config.task).back_up is None:
        given = f"none with task {config.task}, where the guardrails held with that of {needs_stop}"
        raise GuardrailWeakened("back_up", given, "a task that declares one, or back_up: {law, seconds, rest_speed}")
    return config


def tuned_seeds(source: str) -> frozenset[int]:
    """The seeds on which a preset or file, and all that it extends, were tuned: returns on them are optimistic.

    Raises:
        TelosError: there is no such preset, or its `tuned_seeds` are no list of seeds.
    """
    return frozenset(seed for where, layer in _layers(source, Path(), 0) for seed in _tuned(where, layer))


def _tuned(where: str, layer: Mapping[str, Any]) -> list[int]:
    seeds = layer.get(TUNED, [])
    if not isinstance(seeds, list) or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise TelosError(f"{where}: {TUNED}", repr(seeds), "a list of the seeds on which these settings were chosen")
    return seeds


def writable(task: str) -> str:
    """Return the id or path of a task, which config.yaml stores. Raises TelosError where it is not UTF-8 text."""
    if yaml_file.UNWRITABLE.search(task):
        raise TelosError("task", repr(task), "a path that is text in UTF-8, as config.yaml keeps it")
    return task


def read(path: Path) -> dict[str, Any]:
    """One YAML file as a mapping.

    Raises:
        TelosError: the file is missing, a directory, empty, binary, too large, or not a mapping.
    """
    where = str(path)
    if path.is_dir():
        raise TelosError(where, "a directory", "a YAML file")
    if not path.is_file():
        given = "what is no regular file" if os.path.exists(path) else "no such file"
        raise TelosError(where, given, "a preset or a YAML file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TelosError(where, f"{path.stat().st_size} bytes", f"at most {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TelosError(where, f"an unreadable file ({error.strerror})", "a readable YAML file") from None
    except UnicodeDecodeError:
        raise TelosError(where, "a file that is not text", "a YAML file in UTF-8") from None
    return parse(text, where)


def parse(text: str, where: str) -> dict[str, Any]:
    """YAML text as a mapping. Raises TelosError where the text is no mapping."""
    data = yaml_file.content(text, where, "a YAML mapping")
    if data is None:
        raise TelosError(where, "an empty file", "a YAML mapping; `telos list presets` shows where to begin")
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise TelosError(where, f"a {type(data).__name__}", "a YAML mapping of names to values")
    return data


def _layers(source: str, folder: Path, depth: int) -> list[tuple[str, dict[str, Any]]]:
    """The source and all that it extends, the base first."""
    if depth > MAX_DEPTH:
        raise TelosError(source, "files that extend each other in a circle", f"at most {MAX_DEPTH} levels")
    shipped = _shipped()
    if source in shipped:
        entry = shipped[source]
        data, where, folder = parse(entry.read_text(encoding="utf-8"), source), source, Path()
    elif source.endswith((".yaml", ".yml")) or "/" in source or (folder / source).exists():
        path = folder / source
        data, where, folder = read(path), str(path), path.parent
        if "model" in data and "task" not in data:  # every task file has `model`, which is no field of `Config`
            raise TelosError(where, "a task file", f"a configuration; `telos run --task {where}` runs this task")
        task = data.get("task")
        if isinstance(task, str) and registry.is_file(task):
            data["task"] = str(folder / task)  # relative to the file that names it, as for `extends`
    else:
        raise TelosError.unknown("preset", source, presets(), "telos list presets")
    _tuned(where, data)
    parent = data.pop("extends", None)
    if parent is None:
        return [(where, data)]
    if not isinstance(parent, str):
        raise TelosError(f"{where}: extends", repr(parent), "a preset's name or a YAML file")
    return [*_layers(parent, folder, depth + 1), (where, data)]


def _given(overrides: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """A layer for each override, kinds first. `planner.kind` and `planner.params`, given together, form one layer."""
    rest = dict(overrides)
    layers: list[tuple[str, dict[str, Any]]] = []
    if {"planner.kind", "planner.params"} <= rest.keys():
        planner = {"kind": rest.pop("planner.kind"), "params": rest.pop("planner.params")}
        layers.append(("--planner", {"planner": planner}))
    kinds_first = sorted(rest.items(), key=lambda item: not item[0].endswith(".kind"))
    return [*layers, *((f"--{key}", _nested(key, value)) for key, value in kinds_first)]


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def over(base: Mapping[str, Any], layer: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Apply `layer` over `base`: lists and values replace, mappings merge, rules can only be strengthened.

    Where the layer names another task, the rules in the old task's file are copied into the config (see above).
    """
    if _changes_task(base, layer) and registry.is_file(base["task"]):
        base = _with_rules_of_file(base)
    for one, other in (("seed", "seeds"), ("seeds", "seed")):  # the last one given counts
        if one in layer and other not in layer:
            base = {key: value for key, value in base.items() if key != other}
    found = _merged(base, {key: value for key, value in layer.items() if key not in ("guardrails", "back_up")})
    if "guardrails" in layer:
        found["guardrails"] = _stronger(base.get("guardrails", ()), layer["guardrails"], where)
    if "back_up" in layer:
        found["back_up"] = _stricter_back_up(base.get("back_up"), layer["back_up"], where)
    return found


def _refitted(base: Mapping[str, Any], layer: Mapping[str, Any], tell: Callable[[str], None]) -> Mapping[str, Any]:
    """The layers so far, adapted to the planner that `layer` names.

    A new planner keeps horizon and budget. It keeps the parameters that mean the same to it, unless the layer gives
    `params` itself.
    """
    old, new = base.get("planner"), layer.get("planner")
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return base
    kind, other = old.get("kind", PlannerConfig().kind), new.get("kind")
    params = old.get("params")
    if other is None or other == kind or not isinstance(other, str):
        return base
    params = params if isinstance(params, Mapping) else {}
    kept = (
        {} if "params" in new else {name: value for name, value in params.items() if means_the_same(name, kind, other)}
    )
    dropped = [name for name in params if name not in kept]
    if params:
        parts = [f"{word} {', '.join(names)}" for word, names in (("kept", kept), ("dropped", dropped)) if names]
        tell(f"planner {other}: of the parameters for {kind}, {'; '.join(parts)}")
    return {**base, "planner": {**old, "kind": other, "params": kept}}


def _changes_task(base: Mapping[str, Any], layer: Mapping[str, Any]) -> bool:
    old, new = base.get("task"), layer.get("task")
    if not isinstance(old, str) or "task" not in layer:
        return False
    if isinstance(new, str) and registry.is_file(old) and registry.is_file(new):
        return os.path.realpath(old) != os.path.realpath(new)
    return old != new


def _with_rules_of_file(base: Mapping[str, Any]) -> dict[str, Any]:
    """The layers so far, with the guardrails and back-up of their task file copied in."""
    from envs.mjcf import task as mjcf

    task = base["task"]
    declared, folded = mjcf.parse(task), dict(base)
    if declared.guardrails:
        rules = list(declared.guardrails)
        folded["guardrails"] = _stronger(rules, base["guardrails"], task) if base.get("guardrails") else rules
    if declared.back_up is not None:
        own = declared.back_up.model_dump()
        folded["back_up"] = own if base.get("back_up") is None else _stricter_back_up(own, base["back_up"], task)
    return folded


def _relied_on_stop(base: Mapping[str, Any], layer: Mapping[str, Any]) -> bool:
    """Whether the layer replaces a built-in task that has a back-up of its own while guardrails are declared."""
    if not _changes_task(base, layer) or registry.is_file(base["task"]) or not base.get("guardrails"):
        return False
    return registry.load(base["task"]).back_up is not None


def _merged(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """`layer` over `base`: lists and values replace, mappings merge unless they are of different kinds."""
    found = dict(base)
    for key, value in layer.items():
        old = found.get(key)
        if key == "video":
            old, value = video_fields(old), video_fields(value)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            if value.get("kind", old.get("kind")) != old.get("kind"):
                old = {}  # different kinds share no settings; for a planner, see `_refitted`
            # A budget is either evaluations or seconds: a layer that sets one drops the other.
            found[key] = value if key == "budget" else _merged(old, value)
        else:
            found[key] = value
    return found


def _stronger(base: Sequence[Any], more: Any, where: str) -> list[Any]:
    """The base's guardrails with those of a layer, which may add or tighten guardrails but not drop or relax them."""
    if not isinstance(more, list | tuple):
        raise TelosError(f"{where}: guardrails", repr(more), "a list of guardrails")
    if len(base) and not len(more):
        raise GuardrailWeakened(f"{where}: guardrails", "an empty list over rules that hold", "more or stricter rules")
    before, added = build(base), build(more)
    before.strengthened(added)
    replaced = set(added.names)
    kept = [rule for rule in base if _name(rule) not in replaced]
    return [*kept, *more]


def _name(rule: Any) -> str:
    return build([rule]).names[0]


def _stricter_back_up(base: Any, new: Any, where: str) -> Any:
    """The back-up after a layer, which may declare one or make its stop set stricter, never weaker."""
    if base is None:
        return new
    if not isinstance(new, Mapping):
        raise GuardrailWeakened(f"{where}: back_up", repr(new), "a back-up at least as strict")
    if not isinstance(base, Mapping):
        raise TelosError(f"back_up under {where}", repr(base), "a mapping: {law, seconds, rest_speed, gain, joints, …}")
    merged = {**base, **new}
    before, after = (validated(BackUpConfig, x, "back_up").back_up for x in (base, merged))
    strengthened(before, after)
    return merged
