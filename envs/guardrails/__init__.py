"""Guardrails: rules as signed margins, frozen and digest-checked, that can be tightened but not relaxed."""

from envs.errors import GuardrailTampered, GuardrailWeakened
from envs.guardrails.config import GuardrailConfig
from envs.guardrails.guardrail import Guardrail
from envs.guardrails.registry import build
from envs.guardrails.ruleset import Guardrails

__all__ = ["Guardrail", "GuardrailConfig", "GuardrailTampered", "GuardrailWeakened", "Guardrails", "build"]
