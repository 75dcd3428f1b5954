"""Run directories that somebody changed."""
