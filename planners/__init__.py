"""How to search: planners see a `Problem` and nothing else."""
