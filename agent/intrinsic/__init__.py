"""Intrinsic costs: what an agent would rather avoid whatever its task, one file each."""
