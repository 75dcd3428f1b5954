"""What tree planners share."""
