"""The run directory: its files, its digests, its statistics."""
