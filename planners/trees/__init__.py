"""Shared by tree planners."""
