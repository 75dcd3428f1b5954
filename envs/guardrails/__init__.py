"""The rules people set for the world: signed margins, frozen, digest-checked, only ever stronger."""

from envs.errors import GuardrailTampered, GuardrailWeakened
from envs.guardrails.config import GuardrailConfig
from envs.guardrails.guardrail import Guardrail
from envs.guardrails.registry import build
from envs.guardrails.ruleset import Guardrails

__all__ = ["Guardrail", "GuardrailConfig", "GuardrailTampered", "GuardrailWeakened", "Guardrails", "build"]
