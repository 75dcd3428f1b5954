"""A world model, an objective and guardrails, composed into a problem that planners minimise."""
