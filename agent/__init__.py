"""The six modules, their composition, rollouts, the run directory and the command line."""
