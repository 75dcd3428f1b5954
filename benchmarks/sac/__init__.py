"""A model-free row: Soft Actor-Critic."""
