"""The gate checks actions before they are executed; the monitor judges steps afterwards."""
