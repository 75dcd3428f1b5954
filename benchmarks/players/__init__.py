"""Agents that exist for comparison alone: unguarded, ablated, scripted, random."""
