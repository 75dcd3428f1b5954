"""From percepts to beliefs."""
