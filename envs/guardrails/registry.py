"""Builds guardrails from configurations, with errors that tell the user what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from envs.errors import TelosError, nearest
from envs.guardrails.config import GuardrailConfig
from envs.guardrails.guardrail import Guardrail
from envs.guardrails.kinds import KINDS, kinds, resolve
from envs.guardrails.ruleset import Guardrails
from envs.requests import Request
from envs.validation import validated

__all__ = ["KINDS", "build", "build_over", "describe", "kinds", "parse", "resolve"]


def describe() -> dict[str, str]:
    """One line about each kind."""
    return {kind: entry.summary for kind, entry in kinds().items()}


def parse(config: Mapping[str, Any] | GuardrailConfig, where: str = "guardrail") -> GuardrailConfig:
    """The validated configuration.

    Raises TelosError that names the key under `where`, what is allowed, and the nearest match.
    """
    if isinstance(config, GuardrailConfig):
        # Validated again: pydantic can build a model unchecked, and a subclass could build another guardrail than its
        # fields say.
        config = {key: getattr(config, key) for key in type(config).model_fields}
    if not isinstance(config, Mapping):
        raise TelosError(where, f"a {type(config).__name__}", "a mapping with a kind, or a GuardrailConfig")
    kind = config.get("kind")
    if not isinstance(kind, str) or kind not in kinds():
        given = "nothing" if "kind" not in config else repr(kind)
        raise TelosError(f"{where}.kind", given, kinds(), nearest(kind, kinds()))
    model = resolve(kind)
    plain = {key: value.model_dump() if isinstance(value, BaseModel) else value for key, value in config.items()}
    return validated(model, plain, where)


def guardrail(config: GuardrailConfig) -> Guardrail:
    """The guardrail of this configuration.

    Raises TelosError when a signal does not exist at this granularity, and for a rule with memory.
    """
    at = "state" if config.granularity == "step" else "interval"
    made = Guardrail(
        name=config.name,
        kind=config.kind,
        rule=tuple(config.rule().items()),
        signals=tuple(Request(name, at) for name in config.reads()),
        tolerance=config.tolerance,
        scale=config.scale,
        granularity=config.granularity,
        unit=config.unit,
    )
    _insist_no_memory(made)
    return made


def _insist_no_memory(rule: Guardrail) -> None:
    """Raises TelosError for a rule whose margin at a step depends on other steps, declared or not.

    Whether it does is tried only for plug-ins; for the built-in kinds, the conformance suite tries it.
    """
    said = "which looks back at earlier steps" if getattr(resolve(rule.kind), "looks_back", True) else ""
    if not said and rule.kind not in KINDS:
        from envs.guardrails.memory import remembers  # here, because it imports torch

        said = "whose margin at a step depends on more than the signals of that step" if remembers(rule) else ""
    if said:
        allowed = "a kind that judges each step by itself: planner, gate and monitor see different parts of an episode"
        raise TelosError(f"guardrail {rule.name!r}.kind", f"{rule.kind!r}, {said}", allowed)


def build(configs: Sequence[Mapping[str, Any] | GuardrailConfig]) -> Guardrails:
    """The guardrails that these configurations describe.

    Raises TelosError such as "guardrails[2].kind: given 'keep_put'; allowed: …; did you mean 'keep_out'?", also for a
    rule with memory, and for a tolerance so large that nothing could break the rule.
    """
    if isinstance(configs, (str, Mapping)) or not isinstance(configs, Sequence):
        raise TelosError("guardrails", f"a {type(configs).__name__}", "a list of guardrails")
    members: list[Guardrail] = []
    for i, config in enumerate(configs):
        where = f"guardrails[{i}]"
        parsed = parse(config, where)
        names = [member.name for member in members]
        if parsed.name in names:
            taken = f"a name other than that of guardrails[{names.index(parsed.name)}]"
            raise TelosError(f"{where}.name", repr(parsed.name), taken)
        try:
            rule = guardrail(parsed)
        except TelosError as error:
            raise TelosError(f"{where}: {error.where}", error.given, error.allowed, error.nearest) from None
        deepest = -parsed.lowest_margin(rule.params)
        if rule.tolerance >= deepest:
            allowed = f"below {deepest:g} {rule.unit}: no margin is under {-deepest:g}, so nothing could break it"
            raise TelosError(f"{where}.tolerance", rule.tolerance, allowed)
        members.append(rule)
    return Guardrails(members)


def build_over(
    declared: Sequence[Mapping[str, Any]], configs: Sequence[Mapping[str, Any] | GuardrailConfig]
) -> Guardrails:
    """The guardrails of `configs` over those that a task's file declares, which they can only strengthen.

    Raises:
        TelosError: a guardrail is not well formed, or two of one list have the same name.
        GuardrailWeakened: one of `configs` would weaken a declared one.
    """
    rules = build(configs)
    return build(declared).strengthened(rules) if declared else rules
