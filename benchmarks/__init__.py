"""Experiments and published numbers; the only place where an unguarded or ablated agent exists."""
