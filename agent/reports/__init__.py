"""What people read about runs: reports, explanations, comparisons."""
