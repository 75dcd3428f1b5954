"""A model-free baseline: soft actor-critic."""
