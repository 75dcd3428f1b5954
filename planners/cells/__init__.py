"""Shared by planners on a grid of cells."""
