"""What all planners share: budget, selection, warm starts, knots, noise."""
