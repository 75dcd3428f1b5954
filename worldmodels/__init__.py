"""What the agent believes will happen."""
