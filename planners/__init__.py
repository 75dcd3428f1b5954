"""Planners: search algorithms that depend only on the interface of a `Problem`."""
