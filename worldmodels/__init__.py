"""World models, which predict the future for the agent."""
