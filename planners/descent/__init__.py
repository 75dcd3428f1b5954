"""Shared by planners that descend along gradients."""
