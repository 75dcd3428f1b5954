"""Shared by all planners: budget, selection, warm starts, knots, noise."""
