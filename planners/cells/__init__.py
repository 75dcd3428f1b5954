"""What planners on a grid of cells share."""
