"""What planners that descend along gradients share."""
