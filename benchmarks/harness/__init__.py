"""Cases, rows and budgets: what all benchmarks share."""
