"""Shared by planners that sample action sequences."""
