"""Tasks from a user's own YAML file and MJCF model."""
