"""The actor: a planner with its state, its fallback and its proposals."""
