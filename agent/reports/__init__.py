"""Reports, explanations and comparisons of runs."""
