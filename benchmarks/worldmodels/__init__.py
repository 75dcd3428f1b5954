"""Benchmarks of learned world models."""
