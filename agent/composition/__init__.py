"""A world model, an objective and rules, composed into a problem that planners minimise."""
