"""What planners that sample action sequences share."""
