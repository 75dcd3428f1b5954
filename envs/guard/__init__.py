"""The gate before the world and the monitor behind it."""
