"""Models from other packages."""
