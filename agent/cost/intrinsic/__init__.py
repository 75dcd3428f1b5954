"""Intrinsic costs, one per file."""
