"""The world and the rules people set for it: tasks, simulator, signals, guardrails, monitor."""
