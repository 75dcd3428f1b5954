"""Agents that exist only for comparison: unguarded, ablated, scripted, random."""
