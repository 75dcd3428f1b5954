"""Cases, rows and budgets, which all benchmarks share."""
