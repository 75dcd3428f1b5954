"""Environments and the rules for them: tasks, simulator, signals, guardrails, monitor."""
