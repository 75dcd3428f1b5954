"""Throughput, parallel scaling and faults."""
