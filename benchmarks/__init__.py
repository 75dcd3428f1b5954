"""Experiments and published numbers. Unguarded and ablated agents exist only here."""
