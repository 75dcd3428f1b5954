"""Learning: experience is collected, a world model is trained on it, and the agent plans with the model meanwhile."""
