"""MuJoCo as a world model."""
