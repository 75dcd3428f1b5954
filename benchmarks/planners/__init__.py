"""Every planner on every task at equal budget."""
