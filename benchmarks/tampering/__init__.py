"""Run directories that were changed after the run."""
